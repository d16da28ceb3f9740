"""The comparison as one page that needs no network and no script."""

from collections.abc import Mapping
from typing import Any

import jinja2
import polars as pl
import yaml

from moesift.report import figures
from moesift.report.comparison import (
    BASE,
    OF_TARGET,
    budget_text,
    budgets_of,
    main_outcome,
    outcome_text,
    overview,
    whole_of,
)

PARTS = 5  # sources and question sets that are named beside a run of words
FORMS = {"method": "", "budget": "budget", "verdict": "", "difference": "+.3f", "corrupted": ".1%"}  # of the overview


def rendered(numbers: Mapping[str, Any], tables: Mapping[str, pl.DataFrame], curves: pl.DataFrame | None) -> str:
    """Return the report as one HTML page.

    Numbers are those of results.json; curves, see `figures.warmup`, are None where no method needs a warm-up.
    """
    loader = jinja2.PackageLoader("moesift.report", "template")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["show"] = show
    means = overview(tables["summary"], tables["differences"], tables["runs"])
    return environment.get_template("page.html.j2").render(
        numbers,
        loss=outcome_text(main_outcome(tables["summary"])),
        took=took(numbers, tables["taken"]) if "taken" in tables else [],
        shared=shared(tables["shared_runs"]) if "shared_runs" in tables else None,
        figures=plots(numbers, tables, curves),
        means=means.to_dicts(),
        means_columns=[(name, name, FORMS.get(name, ".3f")) for name in means.columns],
        compared=[frame.to_dicts() for frame in tables["differences"].partition_by("outcome", maintain_order=True)],
        configuration_yaml=yaml.safe_dump(numbers["configuration"], sort_keys=False, allow_unicode=True),
    )


def plots(
    numbers: Mapping[str, Any], tables: Mapping[str, pl.DataFrame], curves: pl.DataFrame | None
) -> dict[str, str | None]:
    """Return the figures of the page as SVG by name, None for those that there is nothing to draw of."""
    whole, settings = whole_of(numbers["methods"]), numbers["configuration"]["warmup"]
    kept, areas = (tables[name].filter(~pl.col("method").is_in(whole)) for name in ("kept", "auroc"))
    kept = kept.filter(budget=budgets_of(kept)[0])
    selected = [method["label"] for method in numbers["methods"] if method["label"] in kept["method"]]
    overlap = tables["overlap"]
    differences, main = tables["differences"].drop_nulls("difference"), main_outcome(tables["summary"])
    compared, references = differences.filter(outcome=main), [*whole, BASE]
    by_target = differences.filter(pl.col("outcome").str.starts_with(OF_TARGET), pl.col("outcome") != main)
    by_target = by_target.filter(pl.col("budget").is_in(budgets_of(by_target)[:1]))
    target = settings["trash_share"] if settings["objective"] == "budget" else None
    return {
        "random": figures.against_random("random", compared, references) if compared.height else None,
        "targets": figures.against_random("targets", by_target, references, "outcome") if by_target.height else None,
        "auroc": figures.auroc_map(areas) if areas.height else None,
        "kept": figures.kept_map(kept, selected),
        "overlap": figures.overlap_map(overlap.filter(pl.col("budget").is_in(budgets_of(overlap)[:1]))),
        "warmup": None if curves is None else figures.warmup(curves, target),
    }


def took(numbers: Mapping[str, Any], taken: pl.DataFrame) -> list[dict[str, Any]]:
    """Return of each targeted method, at its smallest budget with the first seed, what each target took.

    Returns:
        Dictionaries of the method's label, the budget, rows (a target's: examples by source, and the mean similarity),
        their columns, as a table of the page has them, and the nearest examples.
    """
    shown = []
    first = taken.filter(budget=budgets_of(taken)[0], seed=numbers["configuration"]["seeds"][0])
    for (label,), of_method in first.group_by("method", maintain_order=True):
        mean = (pl.col("similarity") * pl.col("examples")).sum() / pl.sum("examples")
        totals = of_method.group_by("target", maintain_order=True).agg(pl.sum("examples"), similarity=mean)
        # A source may be called as a column is; no name has a colon.
        by_source = of_method.with_columns(source=pl.format("source:{}", "source"))
        counts = by_source.pivot("source", index="target", values="examples", aggregate_function="sum")
        rows = totals.join(counts.fill_null(0), on="target", maintain_order="left")
        columns = [("target", "target", ""), ("examples", "examples", ","), ("similarity", "mean similarity", ".3f")]
        columns += [(name, name.removeprefix("source:"), ",") for name in counts.columns[1:]]
        near = [example for example in numbers["nearest"] if example["method"] == label]
        shown.append({"label": label, "rows": rows.to_dicts(), "columns": columns, "nearest": near})
    return shown


def shared(runs: pl.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each run of words that examples share with questions, with its largest parts as text."""
    part = pl.format("{}, {}: examples {}, questions {}", "source", "task", "examples", "questions")
    rows = runs.group_by("run", "total", maintain_order=True).agg(
        parts=part.head(PARTS).str.join("; "), more=pl.len().cast(pl.Int64) - PARTS
    )
    more = pl.when(pl.col("more") > 0).then(pl.format("; and {} more", "more")).otherwise(pl.lit(""))
    return rows.with_columns(parts=pl.col("parts") + more).to_dicts()


def show(value: Any, form: str = "") -> str:
    """Return a value as a table shows it: nothing for None, else by a format, or as a budget or a list."""
    if value is None:
        return ""
    if form == "budget":
        return budget_text(value)
    return ", ".join(map(str, value)) if form == "list" else format(value, form)
