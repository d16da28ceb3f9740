"""The figures of the report: functions of frames that return SVG for a page.

Text and axes are drawn in the page's own text colour, so that a figure is readable on light and on dark. The same input
gives the same bytes.
"""

import io
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from moesift.data.corruption import CLEAN
from moesift.report.metrics import HELDOUT, RANDOM

WIDTH = 11.0  # inches; the page scales a figure to its column
INK = "#123456"  # stands for the page's text colour until the SVG is written
GREY = "#808080"
SMOOTH = 10  # steps of the warm-up that the line through its noisy loss is a mean of

# Okabe and Ito's colours without yellow, which is too faint on white, and two of Paul Tol's "muted" scheme: they can be
# told apart with each common form of colour blindness.
PALETTE = ("#D55E00", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#999933", "#AA4499")

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
}


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Return the colour of each method, in every figure: grey for random, the rest by their place."""
    palette = itertools.cycle(PALETTE)
    return {method: GREY if method == RANDOM else next(palette) for method in methods}


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
        figure, grid = _canvas(len(methods), len(kinds), height=1.45, share="row")
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
        return _svg(figure, "distributions")


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
        figure, grid = _canvas(1, 1, height=0.45 * len(methods))
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
        return _svg(figure, "auroc")


def warmup_curves(curves: pl.DataFrame, target: float | None) -> str:
    """Draw the loss and the trash shares of the warm-up over its steps, a thin line a seed, and what drives them.

    Args:
        curves: columns seed, epoch, step, nats or contrast (what the objective lowers), trash_shares and multipliers
            (lists, one number a routed layer).
        target: the trash share that every layer is to have (rho), driven by the multipliers, which are drawn then; None
            where the objective has no budget.
    """
    lowered = "contrast" if "contrast" in curves.columns else "nats"
    layers = len(curves["trash_shares"][0])
    shades = matplotlib.colormaps["viridis"](np.linspace(0.25, 0.85, layers))
    with matplotlib.rc_context(STYLE):
        figure, grid = _canvas(1, 2 if target is None else 3, height=3.1)
        loss, shares, *driver = grid[0]
        for _, of_seed in curves.sort("seed", "step").group_by("seed", maintain_order=True):
            steps = of_seed["step"].to_numpy()
            loss.plot(steps, of_seed[lowered], color=GREY, alpha=0.4, linewidth=0.7)
            loss.plot(steps, of_seed[lowered].rolling_mean(SMOOTH, min_samples=1), color=INK, linewidth=1.2)
            for axes, column in zip((shares, *driver), ("trash_shares", "multipliers"), strict=False):
                lines = np.array(of_seed[column].to_list())  # (steps, layers)
                for layer in range(layers):
                    axes.plot(steps, lines[:, layer], color=shades[layer], linewidth=0.9, label=f"layer {layer}")
        shares.set_ylim(0, 1)
        if target is not None:
            shares.axhline(target, color=INK, linestyle="--", linewidth=1)
            driver[0].axhline(0, color=INK, linestyle="--", linewidth=1)
        titles = (
            f"{'loss (nats per token' if lowered == 'nats' else 'contrast of twins (nats'}; mean of {SMOOTH} steps)",
            "trash share of tokens" + ("" if target is None else f" (target {target:g})"),
            "multiplier (nats per unit of share)",
        )
        for axes, title in zip((loss, shares, *driver), titles, strict=False):
            axes.set_title(title, loc="left")
            axes.set_xlabel("optimizer step")
            for start in curves.group_by("epoch").agg(pl.col("step").min()).filter(pl.col("step") > 0)["step"].sort():
                axes.axvline(start, color=GREY, linewidth=0.5)
        handles = dict(zip(*reversed(shares.get_legend_handles_labels()), strict=True))
        named = list(handles)[:: math.ceil(layers / 8)]  # of a deep model every so many layers are named
        (*_, last) = grid[0]
        last.legend([handles[name] for name in named], named, loc="center left", bbox_to_anchor=(1, 0.5))
        return _svg(figure, "warmup")


def heldout_by_ratio(summary: pl.DataFrame, differences: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw the held-out loss over the ratio and, beside it, its difference to random selection.

    Args:
        summary: the frame of `metrics.over_seeds`; the row without a ratio is the untuned target.
        differences: the frame of `metrics.against_random`; empty where nothing was selected at random.
        methods: the order of the legend.
    """
    losses = summary.filter(pl.col("outcome") == HELDOUT)
    tuned = (
        losses.drop_nulls("ratio")
        .with_columns(low=pl.col("value") - pl.col("stderr"))
        .with_columns(high=pl.col("value") + pl.col("stderr"))
    )
    compared = differences.filter(pl.col("outcome") == HELDOUT).rename({"difference": "value"})
    ratios = tuned["ratio"].unique().sort().to_list()
    with matplotlib.rc_context(STYLE):
        figure, grid = _canvas(1, 2 if compared.height else 1, height=3.6)
        absolute = grid[0, 0]
        for base, error in losses.filter(pl.col("ratio").is_null()).select("value", "stderr").iter_rows():
            absolute.axhspan(base - error, base + error, color=GREY, alpha=0.25, linewidth=0)
            absolute.axhline(base, color=INK, linestyle="--", linewidth=1)
            absolute.annotate(
                "untuned target",
                (1, base),
                xycoords=absolute.get_yaxis_transform(),
                xytext=(0, -4),
                textcoords="offset points",
                ha="right",
                va="top",
            )
        panels = [(absolute, tuned, "held-out loss (nats per token, ± standard error)")]
        if compared.height:
            grid[0, 1].axhline(0, color=colours(methods)[RANDOM], linewidth=1.5)
            panels.append((grid[0, 1], compared, "difference to random (nats per token, below 0 is better)"))
        for axes, frame, title in panels:
            for place, method in enumerate(methods):
                shift = 1.03 ** (place - (len(methods) - 1) / 2)  # side by side, so that error bars stay readable
                _points(axes, frame.filter(pl.col("method") == method), method, colours(methods)[method], place, shift)
            axes.set_title(title, loc="left")
            axes.set_xlabel("share of the pool that is kept")
            axes.set_xscale("log")
            axes.set_xlim(ratios[0] / 1.3, ratios[-1] * 1.3)
            axes.xaxis.set_major_locator(FixedLocator(ratios))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticklabels([f"{ratio:.3g}" for ratio in ratios])
        handles, labels = absolute.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
        return _svg(figure, "heldout")


def _cell(area: float | None, half: float | None) -> tuple[str, str]:
    """Return the text of a cell of the heat map and a colour for it that stands out from the cell's."""
    if area is None:
        return "–", INK
    return f"{area:.3f}" + ("" if half is None else f" ± {half:.3f}"), "white" if abs(area - 0.5) > 0.3 else "black"


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
        markersize=6,
        linewidth=1.2,
        capsize=3,
        label=method,
    )


def _bins(scores: np.ndarray, count: int = 25) -> np.ndarray:
    """Return bin edges between the quantiles 0.01 and 0.99; bins hold whole numbers where the scores are whole."""
    low, high = np.quantile(scores, [0.01, 0.99])
    if np.all(scores == np.round(scores)):
        return np.arange(math.floor(low) - 0.5, high + 1, max(1, math.ceil((high - low + 1) / count)))
    return np.linspace(low, high if high > low else low + 1, count + 1)


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


def _canvas(
    rows: int, columns: int, height: float, share: Literal["none", "row"] = "none"
) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, (rows, columns); `height` is that of a row in inches, `share` is of both scales."""
    figure = Figure(figsize=(WIDTH, height * rows + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an `<svg>` element whose ids begin with `name`, so that several share a page."""
    written = io.BytesIO()
    # pyplot is not used, so nothing keeps the figure alive or looks for a display.
    FigureCanvasSVG(figure)
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            written, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    text = written.getvalue().decode()
    element = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
