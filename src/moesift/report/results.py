"""The comparison as one dictionary of numbers: results.json."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from moesift.data.corruption import CLEAN
from moesift.data.pool import PARTICULAR, frequent_reasons
from moesift.errors import UserError
from moesift.report import composition, metrics, verdict

REASONS = 20  # of a source's rejected rows, the most frequent


class Comparison(NamedTuple):
    """What the numbers and the figures are made of; each frame is described where it is made."""

    tasks: list[dict[str, Any]]
    measured: pl.DataFrame  # metrics.outcomes
    summary: pl.DataFrame  # metrics.over_seeds
    differences: pl.DataFrame  # verdict.judged, with metrics.against_random_by_question
    examples: pl.DataFrame  # composition.described
    kept_of_groups: pl.DataFrame  # composition.kept_of_groups
    kept_and_thrown: pl.DataFrame  # composition.kept_and_thrown
    labelled: bool  # whether the pool has corruptions, without which the next two say nothing
    areas: pl.DataFrame  # metrics.discrimination
    kept: pl.DataFrame  # metrics.kept_corruption


def compare(
    methods: Sequence[str],
    evaluations: Sequence[Mapping[str, Any]],
    questions: pl.DataFrame,
    pool: pl.DataFrame,
    scores: pl.DataFrame,
    selections: pl.DataFrame,
) -> Comparison:
    """Compare the tuned targets with each other, the selections with the pool, and the scores with its labels.

    Args:
        methods: what is compared, in order.
        evaluations: what `evaluate` wrote, that of the untuned target included.
        questions: see `metrics.against_random_by_question`.
        pool: columns id, source, messages, corruption.
        scores: columns method, seed, id, score.
        selections: columns method, ratio, seed, id: what was kept.

    Raises:
        UserError: the evaluations were not made with the same tasks, or one of them diverged.
    """
    settings = evaluations[0]["made_from"]["evaluation"]["tasks"]
    if any(evaluation["made_from"]["evaluation"]["tasks"] != settings for evaluation in evaluations):
        raise UserError("the evaluations were made with different tasks, so they cannot stand in one table")
    found = evaluations[0]["tasks"]
    tasks = [
        {
            **setting,
            "metric": metrics.main_metric(found[setting["name"]]["metrics"]),
            **{key: found[setting["name"]][key] for key in ("questions", "of", "fewshot", "version", "hash")},
        }
        for setting in settings
    ]
    measured = metrics.outcomes(evaluations, [task["name"] for task in tasks])
    compared = {task["name"]: (task["metric"], found[task["name"]]["shares"]) for task in tasks}
    by_question = metrics.against_random_by_question(questions, compared)
    differences = metrics.against_random(measured).join(
        by_question, on=["method", "ratio", "outcome"], how="left", maintain_order="left"
    )
    examples = composition.described(pool)
    first = selections.filter(pl.col("seed") == pl.col("seed").min())
    labelled = bool((pool["corruption"] != CLEAN).any())
    return Comparison(
        tasks=tasks,
        measured=measured,
        summary=metrics.over_seeds(measured),
        differences=verdict.judged(differences),
        examples=examples,
        kept_of_groups=composition.kept_of_groups(selections, examples),
        kept_and_thrown=composition.kept_and_thrown(first, examples, methods),
        labelled=labelled,
        areas=metrics.discrimination(scores if labelled else scores.clear(), pool),
        kept=metrics.kept_corruption(selections, pool),
    )


def results(
    comparison: Comparison,
    config: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    pool: pl.DataFrame,
    rejected: pl.DataFrame,
    scores: pl.DataFrame,
    dropped: pl.DataFrame,
    keep_shares: pl.DataFrame,
) -> dict[str, Any]:
    """Return every number that the page shows, but for what the jobs took, with all that made them.

    Args:
        comparison: what `compare` returns.
        config: the resolved configuration.
        evaluations: what `evaluate` wrote.
        pool: columns id, source, corruption.
        rejected: columns source, reason.
        scores: columns method, seed, id, score, reason (why there is no score).
        dropped: columns method, ratio, seed, id, score, reason: what selections left out for more than its rank.
        keep_shares: columns method, seed, and those of `keep_shares.by_layer`.
    """
    methods = config["methods"]
    areas = comparison.areas
    unscored = (
        scores.filter(pl.col("score").is_null())
        .group_by("reason")
        .agg(pl.col("id").n_unique().alias("count"), methods=pl.col("method").unique().sort())
    )
    return {
        "experiment": config["experiment"],
        "headline": verdict.headline(comparison.summary, comparison.differences),
        "methods": methods,
        "tasks": comparison.tasks,
        "heldout": {key: evaluations[0]["heldout"][key] for key in ("examples", "tokens")},
        "labelled": comparison.labelled,
        "rows": _rows(comparison, methods),
        "over_seeds": _by_run(comparison.summary, ["method", "ratio", "seeds"], methods),
        "against_random": _by_run(comparison.differences, ["method", "ratio", "seeds"], methods),
        "auroc": areas.to_dicts(),
        "auroc_over_seeds": metrics.discrimination_over_seeds(areas).to_dicts(),
        "pool": {
            "examples": pool.height,
            "corrupted": (pool["corruption"] != CLEAN).mean(),
            "kinds": dict(
                pool["corruption"].value_counts().sort(pl.col("corruption") != CLEAN, "corruption").iter_rows()
            ),
            "sources": _by_source(pool),
        },
        "kept_of_groups": comparison.kept_of_groups.to_dicts(),
        "kept_and_thrown": comparison.kept_and_thrown.to_dicts(),
        "keep_shares": keep_shares.to_dicts(),
        "rejected": _rejected(rejected),
        "unscored": unscored.sort("reason").to_dicts(),
        "dropped": _dropped(dropped.drop_nulls("score")),
        **{of: _recorded(evaluations, of) for of in ("commit", "machine")},
        "versions": _versions(evaluations),
        "configuration": config,
    }


def _by_run(frame: pl.DataFrame, run: Sequence[str], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return one dictionary a run, with its outcomes by name: by ratio, then as the methods are listed.

    The untuned target, which has no ratio, comes first.
    """
    place = pl.col("method").replace_strict(methods, range(len(methods)), default=-1)
    ordered = frame.sort("ratio", place, *run, nulls_last=False, maintain_order=True)
    return [
        {
            **dict(zip(run, key, strict=True)),
            "outcomes": {row.pop("outcome"): row for row in group.drop(run).to_dicts()},
        }
        for key, group in ordered.group_by(run, maintain_order=True)
    ]


def _rows(comparison: Comparison, methods: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of the main table, with the share of corrupted examples kept; None for the untuned target."""
    kept = comparison.kept.select("method", "ratio", "seed", "corrupted").iter_rows()
    shares = {tuple(run): share for *run, share in kept} if comparison.labelled else {}
    rows = _by_run(comparison.measured, ["method", "ratio", "seed"], methods)
    return [{**row, "kept_corrupted": shares.get((row["method"], row["ratio"], row["seed"]))} for row in rows]


def _by_source(pool: pl.DataFrame) -> list[dict[str, Any]]:
    counts = pool.group_by("source", "corruption").len("count").sort("source", "corruption")
    return [
        {"source": source, "examples": group["count"].sum(), "kinds": dict(group["corruption", "count"].iter_rows())}
        for (source,), group in counts.group_by("source", maintain_order=True)
    ]


def _rejected(rejected: pl.DataFrame) -> list[dict[str, Any]]:
    """Return how many rows of each source were rejected, with the most frequent kinds of reasons."""
    return [
        {
            "source": source,
            "rows": group.height,
            "reasons": [
                {"reason": reason, "count": count}
                for reason, count in frequent_reasons(group["reason"].to_list(), most=REASONS)
            ],
        }
        for (source,), group in rejected.sort("source", maintain_order=True).group_by("source", maintain_order=True)
    ]


def _dropped(dropped: pl.DataFrame) -> list[dict[str, Any]]:
    """Return how many examples each method's selections left out, by the kind of reason: the mean over the seeds."""
    seeds = dropped["seed"].n_unique()
    # The first part of a reason is its kind, and the numbers in it are of one example. All in polars: of a filter, half
    # of the pool is left out by each selection.
    kind = pl.col("reason").str.split(":").list.first().str.replace_all(PARTICULAR, "…")
    counts = dropped.group_by("ratio", "method", reason=kind).agg(count=pl.len() / seeds).sort("ratio", "reason")
    return [
        {"ratio": ratio, "reason": reason, "counts": dict(group.sort("method")["method", "count"].iter_rows())}
        for (ratio, reason), group in counts.group_by("ratio", "reason", maintain_order=True)
    ]


def _recorded(evaluations: Sequence[Mapping[str, Any]], what: str) -> list[Any]:
    """Return what the evaluations say that they were made by: several where something changed between them.

    None stands for what an evaluation of an earlier version does not say.
    """
    found = [evaluation["made_from"].get(what) for evaluation in evaluations]
    return list(dict.fromkeys(found))


def _versions(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the versions that the evaluations were made with, by package: several where an upgrade came between."""
    found: dict[str, set[str]] = {}
    for evaluation in evaluations:
        for package, version in evaluation["made_from"]["versions"].items():
            found.setdefault(package, set()).add(version)
    return {package: sorted(versions) for package, versions in found.items()}
