"""Figures of a study: functions of tidy frames that return a matplotlib figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import polars as pl
from matplotlib.figure import Figure

INK, GREY, BLUE = "#222222", "#808080", "#0072B2"
WIDTH = 10.5  # inches
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 150,
    "text.parse_math": False,  # a name may hold a dollar
}


def heat_map(table: pl.DataFrame, methods: Sequence[str], kinds: Sequence[str]) -> Figure:
    """Return the AUROC of each kind of corruption (rows) and method (columns), with its interval over seeds.

    Args:
        table: columns method, kind, value, low and high; a pair that is missing is left empty.
        methods: in the order of the columns.
        kinds: in the order of the rows, below the mean over kinds.
    """
    rows = [*table.filter(~pl.col("kind").is_in(kinds))["kind"].unique(maintain_order=True), *kinds]
    cells = {
        (kind, method): numbers
        for kind, method, *numbers in table.select("kind", "method", "value", "low", "high").iter_rows()
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.2 + 0.36 * len(rows)), layout="constrained")
        axes = figure.subplots()
        # The colours span all that an AUROC can be: what looks strong is strong.
        values = [[cells.get((kind, method), [None])[0] for method in methods] for kind in rows]
        image = axes.imshow(
            [[float("nan") if value is None else value for value in row] for row in values],
            cmap="RdBu",
            vmin=0,
            vmax=1,
            aspect="auto",
        )
        for y, kind in enumerate(rows):
            for x, method in enumerate(methods):
                value, low, high = cells.get((kind, method), (None, None, None))
                ink = "white" if value is not None and abs(value - 0.5) > 0.3 else INK
                ends = "" if low is None else f"\n{low:.2f} to {high:.2f}"
                axes.text(
                    x,
                    y,
                    "–" if value is None else f"{value:.2f}{ends}",
                    color=ink,
                    ha="center",
                    va="center",
                    fontsize=6.5,
                )
        axes.set_xticks(range(len(methods)), [method.replace("_", "_\n", 1) for method in methods])
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.tick_params(axis="x", labelsize=7.5)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01, label="AUROC; 0.5 is chance")
    return figure


def differences_figure(table: pl.DataFrame, outcome: str = "heldout", metric: str = "nll") -> Figure:
    """Return how far each method's outcome is from that of random, a panel for each budget, the best on top.

    Args:
        table: columns outcome, metric, higher_is_better, budget, method, value, low and high.
        outcome: which of them is drawn.
        metric: likewise.
    """
    own = table.filter(outcome=outcome, metric=metric).drop_nulls("value")
    better = own["higher_is_better"].any()
    means = own.group_by("method").agg(pl.col("value").mean()).sort("value", descending=not better)
    places = {method: place for place, method in enumerate(means["method"])}
    budgets = own["budget"].unique().sort().to_list()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.2 + 0.27 * len(places)), layout="constrained")
        panels = figure.subplots(1, max(1, len(budgets)), sharex=True, sharey=True, squeeze=False)[0]
        for axes, budget in zip(panels, budgets, strict=False):
            axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
            for method, value, low, high in (
                own.filter(budget=budget).select("method", "value", "low", "high").iter_rows()
            ):
                excludes = low is not None and (low > 0 or high < 0)
                ends = None if low is None else [[value - low], [high - value]]
                axes.errorbar(
                    value,
                    places[method],
                    xerr=ends,
                    color=BLUE,
                    marker="o",
                    markersize=5,
                    capsize=2,
                    markerfacecolor=BLUE if excludes else "white",
                )
            axes.set_title(budget, loc="left")
        panels[0].set_yticks(list(places.values()), list(places))
        side = "above" if better else "below"
        figure.supxlabel(
            f"{metric} on {outcome} minus that of random, paired by seed; {side} zero is better\n"
            "bars: 95% interval over seeds; a full mark: it excludes zero"
        )
    return figure
