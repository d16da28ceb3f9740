"""Figures of the scores: how they are spread, and what they see of the corruptions."""

import itertools
import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes

from moesift.data.corruption import CLEAN
from moesift.report.figures.drawing import GREY, INK, STYLE, canvas, colours, svg

ACROSS = 3  # panels side by side


def histograms(scores: pl.DataFrame, selections: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw how many examples of the pool have which score, a panel a method, and how many of these are kept.

    Args:
        scores: columns method, id, score, of one seed; an example without a score is left out.
        selections: columns method, ratio, id, of the same seed: what was kept; the less is kept, the darker it is.
        methods: the panels, in order.
    """
    ratios = selections["ratio"].unique().sort(descending=True).to_list()
    with matplotlib.rc_context(STYLE):
        figure, grid = canvas(math.ceil(len(methods) / ACROSS), min(len(methods), ACROSS), height=1.5)
        for axes in list(grid.flat)[len(methods) :]:
            axes.set_visible(False)
        for axes, method in zip(grid.flat, methods, strict=False):
            scored = scores.filter(method=method).drop_nulls("score").select("id", "score")
            if scored.height:
                bins = _bins(scored["score"].to_numpy(), 40)
                _counted(axes, scored["score"], bins, GREY, 0.35)
                for ratio in ratios:
                    kept = scored.join(selections.filter(method=method, ratio=ratio), on="id", how="semi")
                    strength = 0.45 + 0.55 * (ratio == ratios[-1])
                    _counted(axes, kept["score"], bins, colours(methods)[method], strength)
            axes.set_title(method, loc="left")
            axes.set_yticks([])
            axes.locator_params(axis="x", nbins=5)
            axes.spines["left"].set_visible(False)
        figure.supxlabel("score (each method in its own unit, higher is better)", fontsize=10)
        return svg(figure, "histograms")


def distributions(scores: pl.DataFrame, pool: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw the scores of each kind of corruption over those of clean examples: a row a method, a column a kind.

    Args:
        scores: columns method, id, score, of one seed; an example without a score is left out.
        pool: columns id, corruption, with at least one kind of corruption.
        methods: the rows, in order.
    """
    labelled = scores.drop_nulls("score").join(pool.select("id", "corruption"), on="id")
    kinds = sorted(set(pool["corruption"]) - {CLEAN})
    with matplotlib.rc_context(STYLE):
        figure, grid = canvas(len(methods), len(kinds), height=1.45, share="row")
        for (row, method), (column, kind) in itertools.product(enumerate(methods), enumerate(kinds)):
            axes = grid[row, column]
            of_method = labelled.filter(pl.col("method") == method)
            if of_method.height:
                bins = _bins(of_method["score"].to_numpy())
                for label, colour, filled in ((CLEAN, GREY, True), (kind, colours(methods)[method], False)):
                    _histogram(axes, of_method.filter(pl.col("corruption") == label)["score"], bins, colour, filled)
            axes.set_yticks([])
            axes.locator_params(axis="x", nbins=4)
            axes.spines["left"].set_visible(False)
            if row == 0:
                axes.set_title(kind)
            if column == 0:
                axes.set_ylabel(method, rotation=0, ha="right", va="center")
        figure.supxlabel("score (each method in its own unit, higher is better)", fontsize=10)
        return svg(figure, "distributions")


def auroc_map(areas: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw the AUROC of each method and kind of corruption as a heat map, with half the width of its 95% interval.

    Args:
        areas: the frame of `metrics.discrimination_over_seeds`, one row a cell.
        methods: the rows, in order.
    """
    kinds = areas["kind"].unique(maintain_order=True).to_list()
    cells = {(method, kind): cell for method, kind, *cell in areas["method", "kind", "auroc", "half"].iter_rows()}
    values = np.array([[cells[method, kind][0] for kind in kinds] for method in methods], float)  # (methods, kinds)
    with matplotlib.rc_context(STYLE):
        figure, grid = canvas(1, 1, height=0.45 * len(methods))
        axes = grid[0, 0]
        # The colours span all that an AUROC can be: what looks strong is strong.
        axes.pcolormesh(values, cmap="RdBu", vmin=0, vmax=1, edgecolors="face", linewidth=0.8)  # edges close the seams
        axes.invert_yaxis()
        for (row, method), (column, kind) in itertools.product(enumerate(methods), enumerate(kinds)):
            text, colour = _cell(*cells[method, kind])
            axes.text(column + 0.5, row + 0.5, text, color=colour, ha="center", va="center")
        axes.set_xticks(np.arange(len(kinds)) + 0.5, kinds)
        axes.set_yticks(np.arange(len(methods)) + 0.5, methods)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        return svg(figure, "auroc")


def _cell(area: float | None, half: float | None) -> tuple[str, str]:
    """Return the text of a cell of the heat map and a colour for it that stands out from the cell's."""
    if area is None:
        return "–", INK
    return f"{area:.3f}" + ("" if half is None else f" ± {half:.3f}"), "white" if abs(area - 0.5) > 0.3 else "black"


def _bins(scores: np.ndarray, count: int = 25) -> np.ndarray:
    """Return bin edges between the quantiles 0.01 and 0.99; bins hold whole numbers where the scores are whole."""
    low, high = np.quantile(scores, [0.01, 0.99])
    if np.all(scores == np.round(scores)):
        return np.arange(math.floor(low) - 0.5, high + 1, max(1, math.ceil((high - low + 1) / count)))
    return np.linspace(low, high if high > low else low + 1, count + 1)


def _counted(axes: Axes, scores: pl.Series, bins: np.ndarray, colour: str, alpha: float) -> None:
    """Draw the number of scores in each bin; what is outside counts in the outermost."""
    counts, _ = np.histogram(np.clip(scores.to_numpy(), bins[0], bins[-1]), bins)
    axes.stairs(counts, bins, fill=True, color=colour, alpha=alpha, linewidth=0)


def _histogram(axes: Axes, scores: pl.Series, bins: np.ndarray, colour: str, filled: bool) -> None:
    """Draw the share of scores in each bin; what is outside counts in the outermost."""
    if not len(scores):
        return
    inside = np.clip(scores.to_numpy(), bins[0], bins[-1])
    axes.hist(
        inside,
        bins.tolist(),
        weights=np.full(len(inside), 1 / len(inside)),
        histtype="stepfilled" if filled else "step",
        color=colour,
        alpha=0.35 if filled else 1,
        linewidth=0 if filled else 1.5,
    )
