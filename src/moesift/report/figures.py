"""The figures of the page: functions of frames that return SVG.

Text and axes are drawn in the page's own text colour, and cells as a tint of its ground, so that a figure is readable
on light and on dark.
"""

import io
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

from moesift.report.comparison import BETTER, HELDOUT, RANDOM, WORSE, budget_text, budgets_of
from moesift.report.detection import ALL, ALL_PAIRS, SAME_STRATUM

WIDTH = 11.0  # inches; the page scales a figure to its column
INK = "#123456"  # stands for the page's text colour until the SVG is written
GREY, GREEN, ORANGE, BLUE = "#8a8a8a", "#1b9e77", "#d95f02", "#3b7dd8"
# After Okabe and Ito, and Paul Tol's "muted": distinct with colour blindness, and neither too light nor too dark.
PALETTE = ["#D55E00", BLUE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#B04FA0", "#E15759", "#44AA99"]
DASHED: dict[str, Any] = {"color": INK, "linestyle": (0, (4, 3)), "linewidth": 0.9}
SMALLEST = 0.005  # share of the pool that a group has to be shown
SMOOTH = 10  # steps that the line through the warm-up's loss is a mean of
POINTS = 400  # of a line: more cannot be seen, and would fill the page
STYLE: dict[Any, Any] = {
    **{f"{part}color": INK for part in ("text.", "axes.edge", "axes.label", "axes.title", "xtick.", "ytick.")},
    **{"font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left", "axes.linewidth": 0.6},
    **{"axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"},
    "text.parse_math": False,  # a source's name may hold a dollar
}


@matplotlib.rc_context(STYLE)
def against_random(differences: pl.DataFrame, references: Sequence[str]) -> str:
    """Draw the difference to random in held-out loss, a panel a budget: wide bars over seeds, thin ones over examples.

    Args:
        differences: of `comparison.against_random`, with the intervals of `comparison.by_question`.
        references: methods that stand below the others, and do not set the scale.
    """
    losses = differences.filter(outcome=HELDOUT).drop_nulls("difference")
    budgets = budgets_of(losses)
    means = losses.group_by("method").agg(pl.mean("difference")).sort("difference", "method")["method"].to_list()
    rows = sorted(means, key=lambda method: method in references)
    compared = losses.filter(~pl.col("method").is_in(references))
    ends = compared.select("difference", "low", "high", "low_questions", "high_questions").to_numpy()
    low, high = np.nanmin(ends, initial=-0.001), np.nanmax(ends, initial=0.001)
    limits = (low - 0.06 * (high - low), high + 0.06 * (high - low))
    figure, grid = _canvas(math.ceil(len(budgets) / 3), min(len(budgets), 3), 0.27 * len(rows) + 0.8, sharey=True)
    for axes in grid.flat[len(budgets) :]:
        axes.set_axis_off()
    for axes, budget in zip(grid.flat, budgets, strict=False):
        axes.set_xlim(limits)
        axes.axvspan(limits[0], 0, color=GREEN, alpha=0.07, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.text(0, -0.8, "← better \N{EN SPACE}", ha="right", fontsize=8.5, color=GREEN)
        axes.text(0, -0.8, "\N{EN SPACE} worse →", fontsize=8.5, color=ORANGE)
        for row in losses.filter(budget=budget).iter_rows(named=True):
            y, x = rows.index(row["method"]), row["difference"]
            colour, marker = {BETTER: GREEN, WORSE: ORANGE, None: BLUE}.get(row["verdict"], GREY), "o"
            if row["method"] in references:
                colour, marker = GREY, "<" if x < limits[0] else ">" if x > limits[1] else "D"
            elif row["low"] is not None:
                axes.hlines(y, row["low"], row["high"], color=colour, linewidth=7, alpha=0.3)
            if row["low_questions"] is not None:
                axes.hlines(y, row["low_questions"], row["high_questions"], color=colour, linewidth=1.2)
            axes.plot(np.clip(x, *limits), y, marker, color=colour, markersize=6, clip_on=False, zorder=3)
            axes.text(1.03, y, f"{x:+.3f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
        axes.set_title(f"{budget_text(budget)} kept")
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.4, -1.5)
        axes.tick_params(axis="y", length=0, pad=9)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4)
    return _svg(figure, "random")


@matplotlib.rc_context(STYLE)
def by_budget(summary: pl.DataFrame, methods: Sequence[str], references: Sequence[str]) -> str:
    """Draw each outcome over the share that is kept: held-out loss large with its methods named, tasks beside it.

    Random is a grey line in a band, its 95% interval. References are dashed lines, with their value in the title.
    """
    outcomes = summary["outcome"].unique(maintain_order=True).to_list()
    down, across = min(3, max(1, len(outcomes) - 1)), math.ceil((len(outcomes) - 1) / 3)
    figure = Figure(figsize=(WIDTH, max(3.6, 0.24 * len(methods) + 1)), layout="constrained")
    grid = figure.add_gridspec(down, 1 + across, width_ratios=[1.7] + [1.0] * across)
    places = [grid[:, 0], *(grid[n % down, 1 + n // down] for n in range(len(outcomes) - 1))]
    palette = itertools.cycle(PALETTE)
    colours = {method: GREY if method == RANDOM else next(palette) for method in methods}
    for outcome, place in zip(outcomes, places, strict=True):
        axes, lines = figure.add_subplot(place), summary.filter(outcome=outcome).drop_nulls("value")
        selected = lines.filter(~pl.col("method").is_in(references)).sort("ratio")
        for (method, _), line in selected.group_by("method", pl.col("budget").str.head(5), maintain_order=True):
            style: dict[str, Any] = {"color": colours[str(method)], "linewidth": 1.3 + (method == RANDOM)}
            axes.plot(line["ratio"], line["value"], "o-", markersize=4, **style)
            if method == RANDOM and min(line["seeds"]) > 1:  # unpaired, that over examples would mislead
                axes.fill_between(line["ratio"], line["low"], line["high"], color=GREY, alpha=0.2, linewidth=0)
        limits = axes.get_ylim()
        levels = list(lines.filter(pl.col("method").is_in(references))["method", "value"].iter_rows())
        for _, value in levels:
            axes.axhline(value, **DASHED)
        axes.set_ylim(limits)
        name = "held-out loss" if outcome == HELDOUT else outcome
        axes.set_title(" · ".join([name, *(f"{method} {value:.3f}" for method, value in levels)]))
        ticks = selected.group_by("budget").agg(pl.mean("ratio"))["ratio"].sort().to_list()
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{100 * tick:.2g}%" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.locator_params(axis="y", nbins=5 if outcome == HELDOUT else 3)
        if outcome == HELDOUT:
            axes.set_xlabel("share of the pool that is kept")
            _name_lines(axes, selected.group_by("method").last().sort("value"), colours)
    return _svg(figure, "budgets")


def _name_lines(axes: Axes, ends: pl.DataFrame, colours: dict[str, str]) -> None:
    """Name lines at their right ends (columns method, value, from the lowest), apart where names would overlap."""
    low, high = axes.get_ylim()
    places = ends["value"].to_list()
    for i, j in 200 * list(itertools.pairwise(range(len(places)))):  # push neighbours apart until all have room
        overlap = max(0.0, (high - low) / max(18, len(places)) - (places[j] - places[i]))
        places[i], places[j] = places[i] - overlap / 2, places[j] + overlap / 2
    for method, place in zip(ends["method"], places, strict=True):
        style: dict[str, Any] = {"color": colours[method], "weight": "bold" if method == RANDOM else "normal"}
        axes.text(1.02, place, method, transform=axes.get_yaxis_transform(), va="center", **style)


@matplotlib.rc_context(STYLE)
def auroc_map(areas: pl.DataFrame) -> str:
    """Draw the AUROC of each method and kind of corruption, the mean over seeds: blue above 0.5, orange below.

    Args:
        areas: the frame of `detection.aurocs`.
    """
    means = areas.group_by("method", "kind", "within", maintain_order=True).agg(pl.mean("auroc"))
    cells = {tuple(cell): value for *cell, value in means.iter_rows()}
    kinds = [kind for kind in means["kind"].unique(maintain_order=True) if kind != ALL]
    columns = [(ALL, SAME_STRATUM), (ALL, ALL_PAIRS), *((kind, ALL_PAIRS) for kind in kinds)]
    methods = means.filter(kind=ALL, within=ALL_PAIRS).sort("auroc", descending=True)["method"].to_list()
    values = np.array([[cells[method, *column] for column in columns] for method in methods], float)  # (M, K)
    names = ["all, same source\nand length", "all", *(kind.replace("_", " ") for kind in kinds)]
    figure, grid = _canvas(1, 1, 0.29 * len(methods) + 0.5)
    _heat(grid[0, 0], values, (values - 0.5) / 0.4, methods, names, [0, 0] + [1] * len(kinds), ".2f")
    return _svg(figure, "auroc")


@matplotlib.rc_context(STYLE)
def kept_map(kept: pl.DataFrame, methods: Sequence[str]) -> str | None:
    """Draw which share of each group a selection keeps, the mean over seeds: blue where more than of the whole pool.

    Args:
        kept: the frame of `composition.kept_of_groups`, of one budget.
        methods: the rows, in order.

    Returns:
        None where all of the pool is of the same group.
    """
    means = kept.group_by("by", "group", "method", maintain_order=True).agg(pl.mean("kept"), pl.first("examples"))
    whole = pl.col("kept").dot("examples").over("by", "method") / pl.sum("examples").over("by", "method")
    size = pl.col("examples") / pl.sum("examples").over("by", "method")
    means = means.with_columns(times=pl.col("kept") / whole, size=size)
    means = means.filter(pl.col("size") >= SMALLEST).filter(pl.n_unique("group").over("by") > 1)
    if means.is_empty():
        return None
    cells = {tuple(cell[:3]): cell[3:] for cell in means.select("method", "by", "group", "kept", "times").iter_rows()}
    groups = list(means.select("by", "group").unique(maintain_order=True).iter_rows())
    values = np.array([[cells[method, *group] for group in groups] for method in methods])  # (M, G, 2)
    strength = np.log2(np.maximum(values[:, :, 1], 2**-9)) / 2  # twice as much is as blue as half as much is orange
    figure, grid = _canvas(1, 1, 0.27 * len(methods) + 1.4)
    names = [group if len(group) <= 18 else f"{group[:17]}…" for _, group in groups]
    blocks = [by for by, _ in groups]
    slanted = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"}
    lefts = _heat(grid[0, 0], values[:, :, 0], strength, methods, names, blocks, ".0%", **slanted)
    for by in dict.fromkeys(blocks):
        title = "response tokens" if by == "length" else by
        grid[0, 0].text(lefts[blocks.index(by)], len(methods) + 0.25, title, va="top", fontsize=9)
    return _svg(figure, "kept")


def _heat(
    axes: Axes,
    values: np.ndarray,
    strength: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    blocks: Sequence[Any],
    form: str,
    **labels: Any,
) -> np.ndarray:
    """Draw cells with their values, tinted by strength in [-1, 1]: blue above 0, orange below.

    Columns of another block than the one before are set apart. Returns the left edge of each column.
    """
    steps = [0.3 * (block != before) for before, block in itertools.pairwise([blocks[0], *blocks])]
    lefts = np.arange(len(columns)) + np.cumsum(steps)
    for (row, column), value in np.ndenumerate(values):
        there, tint = np.isfinite(value), float(np.nan_to_num(np.clip(strength[row, column], -1, 1)))
        style: dict[str, Any] = {"color": BLUE if tint > 0 else ORANGE, "alpha": 0.75 * abs(tint), "linewidth": 0}
        axes.add_patch(Rectangle((lefts[column] + 0.03, row + 0.04), 0.94, 0.92, **style))
        text = format(value, form) if there else "–"
        axes.text(lefts[column] + 0.5, row + 0.5, text, ha="center", va="center", fontsize=9)
    axes.set_xlim(0, lefts[-1] + 1)
    axes.set_ylim(len(rows), 0)
    axes.set_xticks(lefts + 0.5, columns, fontsize=9, **labels)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    return lefts


@matplotlib.rc_context(STYLE)
def histograms(scores: pl.DataFrame, kept: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw how many examples of the pool have which score, and which of them are kept; corrupted ones as a line.

    Args:
        scores: columns method, id, score, corrupted, of one seed; an example without a score is left out.
        kept: columns method, id, of the same seed and one budget.
        methods: the panels, in order.
    """
    figure, grid = _canvas(math.ceil(len(methods) / 4), min(len(methods), 4), 1.25)
    for place, axes in enumerate(grid.flat):
        method = methods[place] if place < len(methods) else ""
        scored = scores.filter(method=method).drop_nulls("score")
        if scored.is_empty():
            axes.set_axis_off()
            continue
        low, high = np.quantile(scored["score"], [0.01, 0.99])  # what is beyond counts in the outermost bins
        bins = np.linspace(low, high if high > low else low + 1, 41)
        selected = scored.join(kept.filter(method=method), on="id", how="semi")
        parts: list[tuple[pl.DataFrame, dict[str, Any]]] = [
            (scored, {"fill": True, "color": GREY, "alpha": 0.35}),
            (selected, {"fill": True, "color": BLUE, "alpha": 0.9}),
            (scored.filter("corrupted"), {"color": ORANGE, "linewidth": 1.2}),
        ]
        for part, style in parts:
            axes.stairs(np.histogram(np.clip(part["score"], low, high), bins)[0], bins, **style)
        axes.set_title(method, fontsize=10)
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=4)
    return _svg(figure, "histograms")


@matplotlib.rc_context(STYLE)
def warmup(curves: pl.DataFrame, target: float | None) -> str:
    """Draw the loss and the trash share of each layer over the steps of the warm-up, a line a seed.

    Args:
        curves: columns seed, epoch, step, nll or contrast, trash_shares (a list, one number a routed layer).
        target: the trash share that every layer is to have; None where the objective has no budget.
    """
    lowered = "contrast" if "contrast" in curves.columns else "nll"
    figure, grid = _canvas(1, 2, 2.7)
    loss, trash = grid[0]
    for _, of_seed in curves.sort("seed", "step").group_by("seed", maintain_order=True):
        smooth = of_seed.with_columns(smooth=pl.col(lowered).rolling_mean(SMOOTH, min_samples=1))
        smooth = smooth.gather_every(math.ceil(of_seed.height / POINTS))
        loss.plot(smooth["step"], smooth[lowered], color=GREY, alpha=0.4, linewidth=0.6)
        loss.plot(smooth["step"], smooth["smooth"], color=BLUE, linewidth=1.4)
        layers = np.array(smooth["trash_shares"].to_list()).T  # (layers, steps)
        shades = matplotlib.colormaps["viridis"](np.linspace(0.2, 0.85, len(layers)))
        for layer, shade in zip(layers, shades, strict=True):
            trash.plot(smooth["step"], layer, color=shade, linewidth=1)
    if target is not None:
        trash.axhline(target, **DASHED)
    trash.set_ylim(0, 1)
    for axes, title in ((loss, f"{lowered} of the warm-up"), (trash, "trash share by layer (dark: first)")):
        axes.set_title(title)
        axes.set_xlabel("step")
    return _svg(figure, "warmup")


def _canvas(rows: int, columns: int, height: float, sharey: bool = False) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, (rows, columns); `height` is that of a row in inches."""
    figure = Figure(figsize=(WIDTH, height * rows + 0.3), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an `<svg>` element whose ids begin with `name`, so that several can be in one page."""
    written = io.BytesIO()
    FigureCanvasSVG(figure)  # without pyplot nothing keeps the figure alive or looks for a display
    with matplotlib.rc_context({"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    text = written.getvalue().decode()
    element = text[text.index("<svg") :].replace(INK, "currentColor")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
