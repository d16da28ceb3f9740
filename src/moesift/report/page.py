"""The comparison as one dictionary of numbers (results.json) and as one page that shows them."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
import polars as pl
import yaml

from moesift.data.corruption import CLEAN
from moesift.data.pool import frequent_reasons
from moesift.errors import UserError
from moesift.report import figures, metrics
from moesift.report.metrics import HELDOUT

ROUTER = "router"
SHOWN = 5  # examples from each end of the router's ranking
SHOWN_CHARACTERS = 300  # from each end of their messages


class Comparison(NamedTuple):
    """What the numbers and the figures are made of; each frame is described where `metrics` makes it."""

    tasks: list[dict[str, Any]]
    measured: pl.DataFrame
    summary: pl.DataFrame
    differences: pl.DataFrame
    areas: pl.DataFrame
    kept: pl.DataFrame
    labelled: bool  # whether the pool has corruptions, without which `areas` and `kept` say nothing


def compare(
    evaluations: Sequence[Mapping[str, Any]],
    questions: pl.DataFrame,
    pool: pl.DataFrame,
    scores: pl.DataFrame,
    selections: pl.DataFrame,
) -> Comparison:
    """Compare the tuned targets with each other and the scores with the labels of the pool.

    Args:
        evaluations: what `evaluate` wrote, that of the untuned target included.
        questions: see `metrics.against_random_by_question`.
        pool: columns id, corruption.
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
    return Comparison(
        tasks,
        measured,
        metrics.over_seeds(measured),
        metrics.against_random(measured).join(
            by_question, on=["method", "ratio", "outcome"], how="left", maintain_order="left"
        ),
        metrics.discrimination(scores, pool),
        metrics.kept_corruption(selections, pool),
        bool((pool["corruption"] != CLEAN).any()),
    )


def results(
    comparison: Comparison,
    config: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    pool: pl.DataFrame,
    rejected: pl.DataFrame,
    scores: pl.DataFrame,
    dropped: pl.DataFrame,
) -> dict[str, Any]:
    """Return every number that the page shows, with the configuration and the versions that made it.

    Args:
        config: the resolved configuration.
        evaluations: what `evaluate` wrote.
        pool: columns id, source, messages, corruption.
        rejected: column reason.
        scores: columns method, seed, id, score, reason (why there is no score).
        dropped: columns method, ratio, seed, id, score, reason: what selections left out for more than its rank.
    """
    methods = config["methods"]
    areas = comparison.areas if comparison.labelled else comparison.areas.clear()
    unscored = (
        scores.filter(pl.col("score").is_null())
        .group_by("reason")
        .agg(pl.col("id").n_unique().alias("count"), methods=pl.col("method").unique().sort())
    )
    return {
        "experiment": config["experiment"],
        "headline": headline(comparison.summary, comparison.differences),
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
        "rejected": [
            {"reason": reason, "count": count}
            for reason, count in frequent_reasons(rejected["reason"].to_list(), most=rejected.height)
        ],
        "unscored": unscored.sort("reason").to_dicts(),
        "dropped": _by_reason(dropped.drop_nulls("score")),
        "ranking": _ends_of_ranking(scores, pool) if ROUTER in methods else None,
        "versions": _versions(evaluations),
        "configuration": config,
    }


def headline(summary: pl.DataFrame, differences: pl.DataFrame) -> str:
    """Return one sentence: which method has the lowest held-out loss at each ratio, and how the router does to random.

    The router beats random only where the 95% interval of the paired difference excludes 0, which takes several seeds.

    Args:
        summary: the frame of `metrics.over_seeds`.
        differences: the frame of `metrics.against_random`.
    """
    losses = summary.filter(outcome=HELDOUT)
    tuned = losses.drop_nulls("ratio").sort("ratio")
    clauses = []
    for (ratio,), at_ratio in tuned.group_by("ratio", maintain_order=True):
        best = at_ratio.filter(pl.col("value") == pl.col("value").min())
        clause = (
            f"keeping {100 * ratio:g}% of the pool, {' and '.join(best['method'])} "
            f"{'has' if best.height == 1 else 'share'} the lowest held-out loss ({best['value'][0]:.3f} ± "
            f"{best['stderr'][0]:.3f} nats per token)"
        )
        router = differences.filter(outcome=HELDOUT, method=ROUTER, ratio=ratio)
        clauses.append(" and ".join([clause, *(_verdict(row) for row in router.iter_rows(named=True))]))
    untuned = [f"the untuned target has {loss:.3f}" for loss in losses.filter(pl.col("ratio").is_null())["value"]]
    caution = "one seed, so no interval over seeds: " if tuned["seeds"].max() == 1 else ""
    sentence = caution + "; ".join(clauses + untuned) + "."
    return sentence[0].upper() + sentence[1:]


def _verdict(row: Mapping[str, Any]) -> str:
    """Say how the router's held-out loss compares to random's, as far as the seeds allow."""
    difference = row["difference"]
    if row["seeds"] == 1:
        if difference == 0:
            return "router equals random"
        return f"router is {abs(difference):.3f} {'below' if difference < 0 else 'above'} random"
    interval = f"95% interval {row['low']:+.3f} to {row['high']:+.3f} over {row['seeds']} paired seeds"
    if row["high"] < 0:
        return f"router beats random by {-difference:.3f} ({interval})"
    if row["low"] > 0:
        return f"router is worse than random by {difference:.3f} ({interval})"
    return f"router cannot be told from random (difference {difference:+.3f}, {interval})"


def plots(
    comparison: Comparison,
    config: Mapping[str, Any],
    pool: pl.DataFrame,
    scores: pl.DataFrame,
    curves: pl.DataFrame | None,
) -> dict[str, str]:
    """Return the figures of the page as SVG by name; those of the corruptions only where the pool has labels.

    Args:
        config: the resolved configuration.
        pool: columns id, corruption.
        scores: columns method, seed, id, score; the distributions are those of the first seed.
        curves: see `figures.warmup_curves`; None where no method needs a warm-up.
    """
    methods = config["methods"]
    target = config["warmup"]["trash_share"] if config["warmup"]["objective"] == "budget" else None
    drawn = {"heldout": figures.heldout_by_ratio(comparison.summary, comparison.differences, methods)}
    if curves is not None:
        drawn["warmup"] = figures.warmup_curves(curves, target)
    if comparison.labelled:
        first = scores.filter(pl.col("seed") == pl.col("seed").min())
        drawn["auroc"] = figures.auroc_map(metrics.discrimination_over_seeds(comparison.areas), methods)
        drawn["distributions"] = figures.distributions(first, pool, methods)
    return drawn


def page(numbers: Mapping[str, Any], drawn: Mapping[str, str]) -> str:
    """Return the report as one HTML page that needs no network and no script.

    Args:
        numbers: the dictionary of `results`.
        drawn: the figures of `plots`.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(files("moesift.report").joinpath("page.html.j2").read_text())
    configuration = yaml.safe_dump(numbers["configuration"], sort_keys=False, allow_unicode=True)
    return template.render(numbers, figures=drawn, configuration_yaml=configuration)


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


def _by_reason(dropped: pl.DataFrame) -> list[dict[str, Any]]:
    """Return how many examples each method's selections left out, by the kind of reason, over all seeds."""
    return [
        {"method": method, "ratio": ratio, "reason": reason, "count": count}
        for (method, ratio), group in dropped.group_by("method", "ratio", maintain_order=True)
        for reason, count in frequent_reasons([text.split(":")[0] for text in group["reason"]], most=group.height)
    ]


def _ends_of_ranking(scores: pl.DataFrame, pool: pl.DataFrame) -> dict[str, Any]:
    """Return the examples that the router of the first seed ranks highest and lowest, the most extreme first."""
    seed = scores["seed"].min()
    ranked = (
        scores.filter(method=ROUTER, seed=seed)
        .drop_nulls("score")
        .sort("score", "id", descending=[True, False])
        .join(pool, on="id", maintain_order="left")
        .select("id", "score", "source", "corruption", "messages")
    )
    ends = {"best": ranked.head(SHOWN), "worst": ranked.tail(SHOWN).reverse()}
    return {"seed": seed, **{end: [_shortened(row) for row in frame.to_dicts()] for end, frame in ends.items()}}


def _shortened(example: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the middle out of long messages: a question often stands at the end of its text."""

    def shorten(text: str) -> str:
        if len(text) <= 2 * SHOWN_CHARACTERS:
            return text
        return f"{text[:SHOWN_CHARACTERS]} […] {text[-SHOWN_CHARACTERS:]}"

    messages = [{"role": message["role"], "content": shorten(message["content"])} for message in example["messages"]]
    return {**example, "messages": messages}


def _versions(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the versions that the evaluations were made with, by package: several where an upgrade came between."""
    found: dict[str, set[str]] = {}
    for evaluation in evaluations:
        for package, version in evaluation["made_from"]["versions"].items():
            found.setdefault(package, set()).add(version)
    return {package: sorted(versions) for package, versions in found.items()}
