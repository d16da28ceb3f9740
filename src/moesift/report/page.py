"""The comparison as one page that needs no network and no script."""

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import polars as pl
import yaml

from moesift.data.corruption import CLEAN
from moesift.report import figures
from moesift.report.comparison import BASE, budget_text, budgets_of, whole_of


def plots(
    tables: Mapping[str, pl.DataFrame],
    numbers: Mapping[str, Any],
    pool: pl.DataFrame,
    scores: pl.DataFrame,
    selections: pl.DataFrame,
    curves: pl.DataFrame | None,
) -> dict[str, str]:
    """Return the figures of the page as SVG by name; those that there is nothing to draw of are left out.

    Args:
        tables: of `results.tables`.
        numbers: of `results.results`.
        pool: columns id, corruption.
        scores: columns method, id, score, of the first seed.
        selections: columns method, budget, id, of the first seed.
        curves: see `figures.routers`; None where no method needs a warm-up.
    """
    methods, whole = [method["label"] for method in numbers["methods"]], whole_of(numbers["methods"])
    budgets = budgets_of(selections.filter(~pl.col("method").is_in(whole)))
    smallest = selections.filter(budget=budgets[0])
    selected = [method for method in methods if method in smallest["method"]]
    labelled = scores.join(pool.select("id", corrupted=pl.col("corruption") != CLEAN), on="id")
    drawn = {
        "budgets": figures.by_budget(tables["summary"], methods, [BASE, *whole]),
        "histograms": figures.histograms(labelled, smallest, selected),
        "kept": figures.kept_map(tables["kept"].filter(budget=budgets[0]), selected),
    }
    if tables["differences"].height:
        drawn["random"] = figures.against_random(tables["differences"], [*whole, BASE])
    if tables["auroc"].height:
        drawn["auroc"] = figures.auroc_map(tables["auroc"].filter(~pl.col("method").is_in(whole)))
    if curves is not None:
        warmup = numbers["configuration"]["warmup"]
        target = warmup["trash_share"] if warmup["objective"] == "budget" else None
        drawn["routers"] = figures.routers(curves, tables["keep_shares"].filter(state="warmed"), target)
    return {name: svg for name, svg in drawn.items() if svg}


def rendered(
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
        durations: the rows of `results.durations`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("moesift.report", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["show"] = show
    differences = pl.DataFrame(numbers["differences"], infer_schema_length=None).rename({"low": "from", "high": "to"})
    key = ["method", "budget", "outcome"]
    columns = ["difference", "from", "to", "low_questions", "high_questions", "p_holm", "verdict"]
    summary = pl.DataFrame(numbers["summary"], infer_schema_length=None)
    if differences.height:
        summary = summary.join(differences.select(*key, *columns), on=key, how="left", maintain_order="left")
    corrupted = sum(row["examples"] for row in numbers["pool"] if row["corruption"] != CLEAN)
    return environment.get_template("page.html.j2").render(
        numbers,
        figures=drawn,
        compared=summary.partition_by("outcome", as_dict=False),
        sizes={"all": sum(row["examples"] for row in numbers["pool"]), "corrupted": corrupted},
        examples=examples,
        durations=durations,
        configuration_yaml=yaml.safe_dump(numbers["configuration"], sort_keys=False, allow_unicode=True),
    )


def show(value: Any, form: str = "") -> str:
    """Return a value as a table shows it: nothing for None, by a format specification, as a budget or a duration."""
    if value is None:
        return ""
    if form == "budget":
        return budget_text(value)
    if form == "list":
        return ", ".join(map(str, value))
    if form == "clock":
        minutes, hours = round(value) // 60, round(value) // 3600
        return f"{hours:,} h {minutes % 60:02} min" if hours else f"{minutes} min {round(value) % 60:02} s"
    return format(value, form)
