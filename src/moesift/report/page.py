"""The comparison as one page that needs no network and no script."""

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import polars as pl
import yaml

from moesift.report import metrics
from moesift.report.figures import outcomes, routers, selection
from moesift.report.figures import scores as of_scores
from moesift.report.metrics import HELDOUT
from moesift.report.results import Comparison


def plots(
    comparison: Comparison,
    config: Mapping[str, Any],
    pool: pl.DataFrame,
    scores: pl.DataFrame,
    selections: pl.DataFrame,
    curves: pl.DataFrame | None,
    keep_shares: pl.DataFrame,
) -> dict[str, str]:
    """Return the figures of the page as SVG by name; those that there is nothing to draw of are left out.

    Args:
        comparison: what `results.compare` returns.
        config: the resolved configuration.
        pool: columns id, corruption.
        scores: columns method, id, score, of the first seed.
        selections: columns method, ratio, id, of the first seed.
        curves: see `routers.warmup_curves`; None where no method needs a warm-up.
        keep_shares: columns method, seed, and those of `keep_shares.by_layer`.
    """
    methods = config["methods"]
    target = config["warmup"]["trash_share"] if config["warmup"]["objective"] == "budget" else None
    measured = [HELDOUT, *(task["name"] for task in comparison.tasks)]
    drawn = {
        "ratios": outcomes.by_ratio(comparison.summary, measured, methods),
        "histograms": of_scores.histograms(scores, selections, methods),
        "kept": selection.kept_map(comparison.kept_of_groups, methods),
    }
    if comparison.differences.height:
        drawn["random"] = outcomes.against_random(comparison.differences, methods)
    if curves is not None:
        drawn["warmup"] = routers.warmup_curves(curves, target)
    if keep_shares.height:
        drawn["keep_shares"] = routers.keep_shares(keep_shares, None if target is None else 1 - target, methods)
    if comparison.labelled:
        drawn["auroc"] = of_scores.auroc_map(metrics.discrimination_over_seeds(comparison.areas), methods)
        drawn["distributions"] = of_scores.distributions(scores, pool, methods)
    return drawn


def page(
    numbers: Mapping[str, Any],
    drawn: Mapping[str, str],
    examples: Sequence[Mapping[str, Any]],
    durations: Sequence[Mapping[str, Any]],
) -> str:
    """Return the report as one HTML page.

    Args:
        numbers: the dictionary of `results.results`.
        drawn: the figures of `plots`.
        examples: what `examples.of_rankings` returns.
        durations: the rows of `durations.by_rule`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("moesift.report", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = clock
    return environment.get_template("page.html.j2").render(
        numbers,
        figures=drawn,
        examples=examples,
        durations=durations,
        configuration_yaml=yaml.safe_dump(numbers["configuration"], sort_keys=False, allow_unicode=True),
    )


def clock(seconds: float) -> str:
    """Return a duration as one reads it: 12 s, 3 min 20 s, 5 h 07 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
