"""The comparison as one dictionary of numbers (results.json) and as one page that shows them."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import polars as pl
import yaml

from moesift import figures, metrics
from moesift.corruption import CLEAN
from moesift.errors import UserError
from moesift.pool import frequent_reasons

ROUTER = "router"
SHOWN = 5  # examples from each end of the router's ranking
SHOWN_CHARACTERS = 600  # of each message of those


def results(
    config: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    pool: pl.DataFrame,
    rejected: pl.DataFrame,
    scores: pl.DataFrame,
) -> dict[str, Any]:
    """Return every number that the page shows, with the configuration and the versions that made it.

    Args:
        config: the resolved configuration.
        evaluations: what `evaluate` wrote, that of the untuned target included.
        pool: columns id, source, messages, corruption.
        rejected: column reason.
        scores: columns method, seed, id, score, reason (why there is no score).

    Raises:
        UserError: the evaluations were not made with the same tasks, or one of them diverged.
    """
    asked = evaluations[0]["made_from"]["evaluation"]["tasks"]
    if any(evaluation["made_from"]["evaluation"]["tasks"] != asked for evaluation in evaluations):
        raise UserError("the evaluations were made with different tasks, so they cannot stand in one table")
    tasks = [_task(setting, evaluations[0]["tasks"]) for setting in asked]
    measured = metrics.outcomes(evaluations, [task["name"] for task in tasks])
    summary, differences = metrics.over_seeds(measured), metrics.against_random(measured)
    labelled = bool((pool["corruption"] != CLEAN).any())
    areas = metrics.discrimination(scores, pool)
    kept = metrics.kept_corruption(scores, pool, measured["ratio"].drop_nulls().unique().sort().to_list())
    return {
        "experiment": config["experiment"],
        "headline": headline(summary, differences),
        "methods": config["methods"],
        "tasks": tasks,
        "heldout": {key: evaluations[0]["heldout"][key] for key in ("examples", "tokens")},
        "rows": _rows(measured, kept if labelled else kept.clear(), config["methods"]),
        "over_seeds": _ordered(summary, config["methods"]).to_dicts(),
        "against_random": _ordered(differences, config["methods"]).to_dicts(),
        "auroc": areas.to_dicts() if labelled else [],
        "auroc_over_seeds": metrics.discrimination_over_seeds(areas).to_dicts() if labelled else [],
        "pool": {
            "examples": pool.height,
            "corrupted": (pool["corruption"] != CLEAN).mean(),
            "kinds": [CLEAN, *sorted(set(pool["corruption"]) - {CLEAN})],
            "counts": pool.group_by("source", "corruption").len("count").sort("source", "corruption").to_dicts(),
        },
        "rejected": _counts(rejected["reason"]),
        "unscored": [
            {"method": method, "seed": seed, **count}
            for (method, seed), group in scores.filter(pl.col("score").is_null()).group_by(
                "method", "seed", maintain_order=True
            )
            for count in _counts(group["reason"])
        ],
        "ranking": _ends(scores, pool) if ROUTER in config["methods"] else None,
        "versions": _versions(evaluations),
        "configuration": config,
    }


def headline(summary: pl.DataFrame, differences: pl.DataFrame) -> str:
    """Return one sentence: which method has the lowest held-out loss at each ratio, and how the router does to random.

    A method beats random only where the 95% interval of the paired difference excludes 0, which takes several seeds.

    Args:
        summary: the frame of `metrics.over_seeds`.
        differences: the frame of `metrics.against_random`.
    """
    losses = summary.filter(pl.col("outcome") == metrics.HELDOUT)
    untuned = losses.filter(pl.col("ratio").is_null())["value"].to_list()
    router = differences.filter(outcome=metrics.HELDOUT, method=ROUTER)
    clauses = []
    for (ratio,), tuned in losses.drop_nulls("ratio").sort("ratio").group_by("ratio", maintain_order=True):
        lowest = tuned["value"].min()
        best = tuned.filter(pl.col("value") == lowest)["method"].to_list()
        verb = "has" if len(best) == 1 else "share"
        clause = f"keeping {100 * ratio:g}% of the pool, {' and '.join(best)} {verb} the lowest held-out loss"
        clause += f" ({lowest:.3f} nats per token"
        if untuned:
            clause += f"; the untuned target has {untuned[0]:.3f}"
        clause += ")"
        for row in router.filter(ratio=ratio).iter_rows(named=True):
            clause += f" and {_verdict(row)}"
        clauses.append(clause)
    seeds = losses.drop_nulls("ratio")["seeds"].max()
    start = "One seed, so no interval over seeds and no claim beyond it: " if seeds == 1 else ""
    sentence = start + "; ".join(clauses) + "."
    return sentence[0].upper() + sentence[1:]


def _verdict(row: Mapping[str, Any]) -> str:
    """Say how the router's held-out loss compares to random's, as far as the seeds allow."""
    difference, size = row["difference"], f"{abs(row['difference']):.3f}"
    if row["seeds"] == 1:
        return "router equals random" if difference == 0 else f"router is {size} {_side(difference)} random"
    interval = f"95% interval {row['low']:+.3f} to {row['high']:+.3f} over {row['seeds']} paired seeds"
    if row["high"] < 0:
        return f"router beats random by {size} ({interval})"
    if row["low"] > 0:
        return f"router is worse than random by {size} ({interval})"
    return f"router cannot be told from random (difference {difference:+.3f}, {interval})"


def _side(difference: float) -> str:
    return "below" if difference < 0 else "above"


def plots(numbers: Mapping[str, Any], pool: pl.DataFrame, scores: pl.DataFrame, curves: pl.DataFrame) -> dict[str, str]:
    """Return the figures of the page as SVG by name; those of the corruptions only where the pool has labels.

    Args:
        numbers: the dictionary of `results`.
        pool: columns id, corruption.
        scores: columns method, seed, id, score; the distributions are those of the first seed.
        curves: see `figures.warmup_curves`.
    """
    methods = numbers["methods"]
    drawn = {
        "warmup": figures.warmup_curves(curves, numbers["configuration"]["warmup"]["trash_share"]),
        "heldout": figures.heldout_by_ratio(
            pl.DataFrame(numbers["over_seeds"]),
            pl.DataFrame(numbers["against_random"], schema=DIFFERENCES),
            methods,
        ),
    }
    if numbers["auroc"]:
        drawn["auroc"] = figures.auroc_map(pl.DataFrame(numbers["auroc_over_seeds"]), methods)
        first = scores.filter(pl.col("seed") == pl.col("seed").min())
        drawn["distributions"] = figures.distributions(first, pool, methods)
    return drawn
