"""The comparison as one page that needs no network and no script."""

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import polars as pl
import yaml

from moesift.data.corruption import CLEAN
from moesift.report import figures
from moesift.report.comparison import BASE, HELDOUT, budget_text, budgets_of, whole_of


def plots(
    tables: Mapping[str, pl.DataFrame],
    numbers: Mapping[str, Any],
    scores: pl.DataFrame,
    selections: pl.DataFrame,
    curves: pl.DataFrame | None,
) -> dict[str, str]:
    """Return the figures of the page as SVG by name; those that there is nothing to draw of are left out.

    Args:
        tables: of the report, by name.
        numbers: what is in results.json.
        scores: columns method, id, score, corrupted, of the first seed.
        selections: columns method, budget, id, of the first seed.
        curves: see `figures.warmup`; None where no method needs a warm-up.
    """
    methods, whole = [method["label"] for method in numbers["methods"]], whole_of(numbers["methods"])
    smallest = budgets_of(selections.filter(~pl.col("method").is_in(whole)))[0]
    kept = selections.filter(budget=smallest)
    selected = [method for method in methods if method in kept["method"]]
    areas = tables["auroc"].filter(~pl.col("method").is_in(whole))
    drawn = {
        "budgets": figures.by_budget(tables["summary"], methods, [BASE, *whole]),
        "histograms": figures.histograms(scores, kept, selected),
        "kept": figures.kept_map(tables["kept"].filter(budget=smallest), selected),
    }
    if tables["differences"].filter(outcome=HELDOUT)["difference"].count():
        drawn["random"] = figures.against_random(tables["differences"], [*whole, BASE])
    if areas.height:
        drawn["auroc"] = figures.auroc_map(areas)
    if curves is not None:
        settings = numbers["configuration"]["warmup"]
        target = settings["trash_share"] if settings["objective"] == "budget" else None
        drawn["warmup"] = figures.warmup(curves, target)
    return {name: svg for name, svg in drawn.items() if svg is not None}


def rendered(
    numbers: Mapping[str, Any],
    summary: pl.DataFrame,
    drawn: Mapping[str, str],
    examples: Sequence[Mapping[str, Any]],
    durations: Sequence[Mapping[str, Any]],
) -> str:
    """Return the report as one HTML page.

    Args:
        numbers: what is in results.json.
        summary: of `comparison.over_seeds`, with the differences to random.
        drawn: the figures of `plots`.
        examples: what `examples.of_rankings` returns.
        durations: the rows of `records.durations`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("moesift.report", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["show"] = show
    corrupted = sum(row["examples"] for row in numbers["pool"] if row["corruption"] != CLEAN)
    return environment.get_template("page.html.j2").render(
        numbers,
        figures=drawn,
        compared=[frame.to_dicts() for frame in summary.partition_by("outcome", maintain_order=True)],
        sizes={"all": sum(row["examples"] for row in numbers["pool"]), "corrupted": corrupted},
        examples=examples,
        durations=durations,
        configuration_yaml=yaml.safe_dump(numbers["configuration"], sort_keys=False, allow_unicode=True),
    )


def show(value: Any, form: str = "") -> str:
    """Return a value as a table shows it: nothing for None, else by a format, or as budget, list or duration."""
    if value is None:
        return ""
    if form == "budget":
        return budget_text(value)
    if form == "list":
        return ", ".join(map(str, value))
    if form == "clock":
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes // 60:,} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {seconds:02} s"
    return format(value, form)
