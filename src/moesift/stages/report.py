"""Put what was measured together: tidy tables, one JSON, and one page that shows them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from moesift import flags
from moesift.data.decontamination import frequent_runs
from moesift.data.pool import concatenated
from moesift.files import atomic_write
from moesift.methods import METHODS
from moesift.report import comparison, composition, detection
from moesift.report.composition import reason_counts
from moesift.report.costs import costs_of
from moesift.report.headline import headline
from moesift.report.page import rendered

QUESTIONS = ["task", "doc_id", "doc_hash", "metric", "value"]
SCORES = ["id", "score", "n_tokens", "reason"]
TAKEN = ["id", "source", "score", "target", "query"]


def main(
    evaluations: list[Path],
    pool: flags.Parquet,
    rejected: flags.Parquet,
    scores: list[flags.Parquet],
    selections: list[flags.Parquet],
    queries: list[flags.Parquet],
    curves: list[Path],
    benchmarks: Path,
    config: str,
    methods: str,
    results: Path,
    tables: Path,
    page: Path,
    contaminated: flags.Parquet | None = None,
) -> None:
    """Read what the other stages measured, write the tables, the JSON and the page.

    Args:
        evaluations: JSON of `evaluate`, each beside its parquet, that of the untuned target included.
        pool: parquet of the pool.
        rejected: parquet of the rows that became no example.
        scores: .../{method}/seed-{seed}.parquet.
        selections: .../{method}/{budget}/seed-{seed}.parquet, each beside its .dropped.parquet.
        queries: .../{target}/queries.parquet, none without targets.
        curves: .../seed-{seed}/epoch-{n}.jsonl of the warm-up.
        benchmarks: folder of Snakemake's records of what each job took; of a job without one nothing is known.
        config: the resolved configuration as JSON.
        methods: JSON: what is said of each method, in order.
        results: JSON to write.
        tables: folder of parquet files to write.
        page: HTML to write.
        contaminated: parquet of `contaminated`, where test questions are looked for in the pool.
    """
    configured, described = json.loads(config), json.loads(methods)
    measured = [json.loads(path.read_text()) for path in evaluations]
    evaluated = {path: [one[name] for name in comparison.RUN] for path, one in zip(evaluations, measured, strict=True)}
    runs = {path: (path.parent.parent.name, path.parent.name, seed_of(path)) for path in selections}
    examples = pl.read_parquet(pool)
    asked = of_runs(evaluated, QUESTIONS, ".parquet")
    scored = of_runs({path: (path.parent.name, None, seed_of(path)) for path in scores}, SCORES)
    kept = of_runs(runs, ["id"])
    dropped = of_runs(runs, ["score", "reason"], ".dropped.parquet")
    warmup = [pl.read_ndjson(path).with_columns(seed=pl.lit(seed_of(path.parent), pl.Int64)) for path in curves]

    seeds = len(configured["seeds"])
    n_tokens = scored.filter(method=scored["method"][0], seed=scored["seed"][0]).select("id", "n_tokens")
    tasks, kept_by_run = comparison.tasks_of(measured), comparison.runs_of(kept, examples)
    outcomes = comparison.outcomes_of(measured, tasks, kept_by_run)
    missing = comparison.missing_runs(kept_by_run, outcomes)
    losses = comparison.losses_of(measured)
    outcomes = comparison.with_means(comparison.of_own_target(outcomes, "outcome", described), losses)
    asked = comparison.of_own_target(asked, "task", described)
    intervals = comparison.by_question(asked, [*losses, *tasks])
    differences = comparison.against_random(outcomes, described, seeds)
    differences = differences.join(intervals, on=comparison.COMPARED, how="left", maintain_order="left")
    measure = [method["label"] for method in described if METHODS[method["method"]].measures]
    measuring, sources = scored.filter(pl.col("method").is_in(measure)), examples.select("id", "source")
    made = {
        "outcomes": outcomes,
        "summary": comparison.over_seeds(outcomes),
        "differences": differences,
        "runs": kept_by_run,
        "auroc": detection.aurocs(dict(scored.group_by("method", "seed", maintain_order=True)), examples, n_tokens),
        "costs": costs_of(seconds_of_jobs(benchmarks), described, runs.values()),
        "health": composition.health_of_scores(measuring.join(sources, on="id", how="left", maintain_order="left")),
        "overlap": composition.overlap(kept.join(sources, on="id", how="semi", maintain_order="left"), described),
        "kept": composition.kept_of_groups(kept, composition.groups(examples, n_tokens)),
    }
    asking = {path.parent.name: pl.read_parquet(path, columns=["id", "messages"]) for path in queries}
    nearest: list[dict[str, Any]] = []
    if targeted := [method["label"] for method in described if METHODS[method["method"]].targeted]:
        took = of_runs({path: run for path, run in runs.items() if run[0] in targeted}, TAKEN).drop_nulls("target")
        made["taken"] = composition.taken_by_target(took)
        first = took.filter(budget=comparison.budgets_of(took)[0], seed=configured["seeds"][0])
        texts = concatenated(frame.with_columns(target=pl.lit(target)) for target, frame in asking.items())
        nearest = composition.nearest(first, examples, texts).to_dicts()
    sizes = {name: loss["examples"] for one in measured for name, loss in one["targets"].items()}
    if contaminated is not None:
        made["shared_runs"] = frequent_runs(pl.read_parquet(contaminated), examples)
    made_from = [one["made_from"] for one in measured]
    versions = sorted({pair for one in made_from for pair in one["versions"].items()})
    numbers = {
        "experiment": configured["experiment"],
        "headline": headline(
            made["summary"], differences, [comparison.BASE, *comparison.whole_of(described)], made["costs"]
        ),
        "missing": missing.to_dicts(),
        "methods": described,
        "tasks": tasks,
        "heldout": {key: measured[0]["heldout"][key] for key in ("examples", "tokens")},
        "targets": [
            {"name": name, "queries": frame.height, "heldout": sizes.get(name, 0)} for name, frame in asking.items()
        ],
        "nearest": nearest,
        **{name: frame.to_dicts() for name, frame in made.items()},
        "pool": examples.group_by("source", "corruption").len("examples").sort("source", "corruption").to_dicts(),
        "rejected": reason_counts(pl.read_parquet(rejected), ["source"]),
        "unscored": reason_counts(scored.filter(pl.col("score").is_null()), ["method"], seeds),
        "dropped": reason_counts(dropped.drop_nulls("score"), ["method", "budget"], seeds),
        **{key: list(dict.fromkeys(one[key] for one in made_from)) for key in ("commit", "machine")},
        "versions": {name: [version for other, version in versions if other == name] for name, _ in versions},
        "configuration": configured,
    }
    html = rendered(numbers, made, pl.concat(warmup) if warmup else None)

    with atomic_write(tables) as part:
        part.mkdir()
        for name, frame in made.items():
            frame.write_parquet(part / f"{name}.parquet")
    with atomic_write(results) as part:
        part.write_text(json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    with atomic_write(page) as part:
        part.write_text(html)
    print(page)


def of_runs(runs: Mapping[Path, Sequence[Any]], columns: list[str], suffix: str = ".parquet") -> pl.DataFrame:
    """Read columns of files, by the method, budget and seed that each is of, or of those beside them with a suffix."""
    frames = []
    for path, (method, budget, seed) in runs.items():
        frame = pl.read_parquet(path.with_suffix(suffix), columns=columns)
        run = {"method": pl.lit(method), "budget": pl.lit(budget, pl.String), "seed": pl.lit(seed, pl.Int64)}
        frames.append(frame.with_columns(**run))
    return pl.concat(frames)


def seconds_of_jobs(benchmarks: Path) -> dict[str, float]:
    """Return the seconds of each job, by the path of its record without its ending."""
    return {
        str(file.relative_to(benchmarks).with_suffix("")): float(pl.read_csv(file, separator="\t")["s"][0])
        for file in sorted(benchmarks.glob("**/*.tsv"))
    }


def seed_of(path: Path) -> int:
    """Return the seed that a path ends in, as .../seed-0.parquet or .../seed-0 do."""
    return int(path.stem.removeprefix("seed-"))


if __name__ == "__main__":
    flags.run(main)
