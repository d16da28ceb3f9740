"""The comparison as one page that needs no network and no script."""

from collections.abc import Mapping
from typing import Any

import jinja2
import polars as pl
import yaml

from moesift.report import figures
from moesift.report.comparison import BASE, HELDOUT, budget_text, budgets_of, overview, whole_of

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
    compared = tables["differences"].filter(outcome=HELDOUT).drop_nulls("difference")
    target = settings["trash_share"] if settings["objective"] == "budget" else None
    return {
        "random": figures.against_random(compared, [*whole, BASE]) if compared.height else None,
        "auroc": figures.auroc_map(areas) if areas.height else None,
        "kept": figures.kept_map(kept, selected),
        "warmup": None if curves is None else figures.warmup(curves, target),
    }


def show(value: Any, form: str = "") -> str:
    """Return a value as a table shows it: nothing for None, else by a format, or as a budget or a list."""
    if value is None:
        return ""
    if form == "budget":
        return budget_text(value)
    return ", ".join(map(str, value)) if form == "list" else format(value, form)
