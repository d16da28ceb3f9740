"""All that the report says, as tables and as one JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit

from moesift.data.corruption import CLEAN
from moesift.data.pool import PARTICULAR
from moesift.report import comparison, composition, detection
from moesift.report.comparison import BASE, Evaluations, Methods
from moesift.report.headline import headline

REASONS = 20  # of a source, a method or a run: the most frequent
# Of Snakemake's benchmark files: seconds, MiB, processor seconds and, in the extended ones, rule and resources.
RECORD = {
    "s": pl.Float64,
    "max_rss": pl.Float64,
    "cpu_time": pl.Float64,
    "rule_name": pl.String,
    "resources": pl.String,
}


def tables(
    evaluations: Evaluations,
    questions: pl.DataFrame,
    pool: pl.DataFrame,
    scores: pl.DataFrame,
    selections: pl.DataFrame,
    keep_shares: pl.DataFrame,
    methods: Methods,
    seeds: Sequence[int],
) -> dict[str, pl.DataFrame]:
    """Return the tables of the report by name; each is described where it is made.

    Args:
        evaluations: what `evaluate` wrote, that of the untuned target included.
        questions: see `comparison.by_question`.
        pool: columns id, source, messages, choices, corruption.
        scores: columns method, seed, id, score, n_tokens.
        selections: columns method, budget, seed, id: what was kept.
        keep_shares: columns seed, state, and those of `layer_shares`.
        methods: what `plan.describe` says of each.
        seeds: that each run should have.

    Raises:
        UserError: the evaluations were not made with the same tasks and questions.
    """
    tasks = comparison.tasks_of(evaluations)
    runs = comparison.runs_of(selections, pool)
    outcomes = comparison.outcomes_of(evaluations, tasks, runs)
    differences = comparison.against_random(outcomes, methods, len(seeds)).join(
        comparison.by_question(questions, tasks), on=["method", "budget", "outcome"], how="left", maintain_order="left"
    )
    by_run = {key: frame for key, frame in scores.group_by("method", "seed", maintain_order=True)}
    n_tokens = next(iter(by_run.values())).select("id", "n_tokens")
    areas = pl.DataFrame(schema=detection.AUROC)
    if (pool["corruption"] != CLEAN).any():
        examples = detection.labelled(pool, n_tokens)
        areas = detection.aurocs(((str(method), seed, frame) for (method, seed), frame in by_run.items()), examples)
    return {
        "outcomes": outcomes,
        "summary": comparison.over_seeds(outcomes),
        "differences": differences,
        "runs": runs,
        "auroc": areas,
        "kept": composition.kept_of_groups(selections, composition.groups(pool, n_tokens)),
        "keep_shares": keep_shares,
    }


def results(
    made: Mapping[str, pl.DataFrame],
    evaluations: Evaluations,
    pool: pl.DataFrame,
    rejected: pl.DataFrame,
    scores: pl.DataFrame,
    dropped: pl.DataFrame,
    methods: Methods,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """Return every number of the report, but for what the jobs took, with all that made them.

    Args:
        made: the tables of `tables`.
        evaluations: what `evaluate` wrote.
        pool: columns source, corruption.
        rejected: columns source, reason.
        scores: columns method, seed, score, reason (why there is no score).
        dropped: columns method, budget, seed, score, reason: what selections left out for more than its rank.
        methods: what `plan.describe` says of each.
        config: the resolved configuration.
    """
    made_from = [evaluation["made_from"] for evaluation in evaluations]
    versions = [pair for one in made_from for pair in one["versions"].items()]
    references = [BASE, *comparison.whole_of(methods)]
    return {
        "experiment": config["experiment"],
        "headline": headline(made["summary"], made["differences"], references),
        "methods": methods,
        "missing": comparison.missing_runs(made["outcomes"], methods, config["seeds"]),
        "tasks": comparison.tasks_of(evaluations),
        "heldout": {key: evaluations[0]["heldout"][key] for key in ("examples", "tokens")},
        **{name: table.to_dicts() for name, table in made.items()},
        "pool": pool.group_by("source", "corruption").len("examples").sort("source", "corruption").to_dicts(),
        "rejected": reasons(rejected, ["source"]),
        "unscored": reasons(scores.filter(pl.col("score").is_null()), ["method"], scores["seed"].n_unique()),
        "dropped": reasons(dropped.drop_nulls("score"), ["method", "budget"], scores["seed"].n_unique()),
        "commit": list(dict.fromkeys(one["commit"] for one in made_from)),
        "machine": list(dict.fromkeys(one["machine"] for one in made_from)),
        "versions": {name: sorted({v for other, v in versions if other == name}) for name, _ in versions},
        "configuration": config,
    }


def reasons(frame: pl.DataFrame, by: Sequence[str], seeds: int = 1) -> list[dict[str, Any]]:
    """Return how many examples have which kind of reason, the mean over seeds: the most frequent REASONS of each.

    The first part of a reason is its kind, and the ids and numbers in it are of one example.
    """
    kind = pl.col("reason").str.split(":").list.first().str.replace_all(PARTICULAR, "…")
    counts = frame.group_by(*by, reason=kind).agg(count=pl.len() / seeds)
    counts = counts.sort(*by, "count", "reason", descending=[*[False] * len(by), True, False])
    return counts.filter(pl.int_range(pl.len()).over(by) < REASONS).to_dicts()


def layer_shares(log_odds: pl.Series) -> pl.DataFrame:
    """Return how the keep share of each routed layer, the sigmoid of its log odds, is spread over the examples.

    Args:
        log_odds: of each example a list, one number a routed layer; null where there is no response.

    Returns:
        Columns layer (from 0), low, median and high: a tenth of the examples is below `low`, a tenth above `high`.
    """
    values = np.array(log_odds.drop_nulls().to_list(), dtype=float)  # (N, L)
    # The sigmoid keeps the order, so the quantiles of the shares are those of the log odds.
    low, median, high = expit(np.quantile(values, [0.1, 0.5, 0.9], axis=0))
    return pl.DataFrame({"layer": np.arange(len(median)), "low": low, "median": median, "high": high})


def durations(jobs: pl.DataFrame) -> pl.DataFrame:
    """Return what the jobs of each rule took, the rule that took longest first.

    Args:
        jobs: columns RECORD, a row a job; null where it is not known (a job of less than a second has no memory).

    Returns:
        Columns rule (null for jobs whose record does not name it), jobs, seconds (of all together), median_seconds,
        peak_gib, cpu_seconds and gpu_hours (a job's time by the GPUs that it had; null where that is not known).
    """
    gpus = pl.col("resources").str.extract(r"'gpu': (\d+)").cast(pl.Float64).fill_null(0)
    grouped = jobs.group_by(rule="rule_name").agg(
        jobs=pl.len().cast(pl.Int64),
        seconds=pl.col("s").sum(),
        median_seconds=pl.col("s").median(),
        peak_gib=pl.col("max_rss").max() / 1024,
        cpu_seconds=pl.col("cpu_time").sum(),
        gpu_hours=pl.when(pl.col("resources").is_not_null().all()).then((pl.col("s") * gpus).sum() / 3600),
    )
    return grouped.sort("seconds", "rule", descending=[True, False])
