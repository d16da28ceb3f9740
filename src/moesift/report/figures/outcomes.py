"""Figures of what was measured of the tuned targets."""

import math
from collections.abc import Sequence

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from moesift.report.figures.drawing import GREY, INK, STYLE, canvas, colours, svg
from moesift.report.metrics import HELDOUT, RANDOM

ACROSS = 2  # panels side by side


def against_random(differences: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw each method's difference to random selection in held-out loss, a panel a ratio, with both intervals.

    Args:
        differences: the frame of `metrics.against_random` with that of `metrics.against_random_by_question`.
        methods: the rows, from the top.
    """
    losses = differences.filter(outcome=HELDOUT)
    ratios = losses["ratio"].unique().sort().to_list()
    others = [method for method in methods if method != RANDOM]
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(ratios), height=0.28 * len(others) + 0.7)
        for axes, ratio in zip(panels, ratios, strict=False):
            axes.axvline(0, color=GREY, linewidth=1.5)
            for row in losses.filter(ratio=ratio).iter_rows(named=True):
                place, colour = others.index(row["method"]), colours(methods)[row["method"]]
                if row["low"] is not None:
                    axes.hlines(place, row["low"], row["high"], color=colour, linewidth=4)
                if row["low_questions"] is not None:
                    below = place if row["low"] is None else place + 0.27  # so that neither bar hides the other
                    axes.hlines(below, row["low_questions"], row["high_questions"], color=colour, linewidth=1.2)
                axes.plot(row["difference"], place, color=colour, marker="o", markersize=7)
            axes.set_title(f"{100 * ratio:g}% of the pool kept", loc="left")
            axes.set_xlabel("difference in nats per token (below 0 is better)")
            axes.set_yticks(range(len(others)), others)
            axes.set_ylim(len(others) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.margins(x=0.08)
            axes.locator_params(axis="x", nbins=5)
        return svg(figure, "random")


def by_ratio(summary: pl.DataFrame, outcomes: Sequence[str], methods: Sequence[str]) -> str:
    """Draw each outcome over the ratio, a panel an outcome, with 95% intervals: random's as a band, others' as bars.

    Args:
        summary: the frame of `metrics.over_seeds`; the row without a ratio is the untuned target.
        outcomes: the panels, in order: HELDOUT and the names of tasks.
        methods: the order of the legend.
    """
    ratios = summary["ratio"].drop_nulls().unique().sort().to_list()
    with matplotlib.rc_context(STYLE):
        figure, panels = _panels(len(outcomes), height=3.4)
        for axes, outcome in zip(panels, outcomes, strict=False):
            found = summary.filter(outcome=outcome)
            for untuned in found.filter(pl.col("ratio").is_null())["value"]:
                axes.axhline(untuned, color=INK, linestyle="--", linewidth=1, label="untuned target")
            for place, method in enumerate(methods):
                of_method = found.filter(pl.col("ratio").is_not_null(), pl.col("method") == method).sort("ratio")
                colour = colours(methods)[method]
                if method == RANDOM:
                    _band(axes, of_method, colour)
                else:
                    shift = 1.025 ** (place - (len(methods) - 1) / 2)  # side by side, so that bars stay readable
                    _points(axes, of_method, method, colour, place, shift)
            name = "held-out loss (nats per token)" if outcome == HELDOUT else outcome
            axes.set_title(name, loc="left")
            axes.set_xlabel("share of the pool that is kept")
            axes.set_xscale("log")
            axes.set_xlim(ratios[0] / 1.3, ratios[-1] * 1.3)
            axes.xaxis.set_major_locator(FixedLocator(ratios))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels([f"{100 * ratio:g}%" for ratio in ratios])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
        return svg(figure, "ratios")


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, at most ACROSS in a row, whose height is in inches; a row may not be full."""
    across = min(count, ACROSS)
    figure, grid = canvas(math.ceil(count / across), across, height)
    panels = list(grid.flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def _band(axes: Axes, frame: pl.DataFrame, colour: str) -> None:
    """Draw random's value over the ratio (columns ratio, value, low, high) as a line in a band from low to high."""
    if frame.is_empty():
        return
    # A little beyond both ends: with one ratio there would be no width to see.
    outer = pl.concat([frame.head(1), frame, frame.tail(1)])
    ratios = outer["ratio"].to_numpy().copy()
    ratios[0], ratios[-1] = ratios[0] / 1.15, ratios[-1] * 1.15
    low, high = (outer[end].fill_null(outer["value"]).to_numpy() for end in ("low", "high"))
    axes.fill_between(ratios, low, high, color=colour, alpha=0.25, linewidth=0)
    axes.plot(ratios, outer["value"], color=colour, linewidth=1.5, label=RANDOM)


def _points(axes: Axes, frame: pl.DataFrame, method: str, colour: str, place: int, shift: float) -> None:
    """Draw value against ratio (columns ratio, value, low, high), with a bar from low to high where there is one."""
    frame = frame.sort("ratio")
    ends = [
        (frame["value"] - frame["low"]).fill_null(0).to_numpy(),
        (frame["high"] - frame["value"]).fill_null(0).to_numpy(),
    ]
    axes.errorbar(
        frame["ratio"].to_numpy() * shift,
        frame["value"].to_numpy(),
        ends,
        color=colour,
        marker="osD^vPX*"[place % 8],
        markersize=5,
        linewidth=1.2,
        elinewidth=0.9,
        capsize=2,
        label=method,
    )
