"""The figures of the page: functions of frames that return SVG.

Text and axes are drawn in the page's own text colour, and cells as a tint of its ground, so that a figure is readable
on light and on dark.
"""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moesift.report.comparison import BETTER, OF_TARGET, WORSE, budget_text, budgets_of
from moesift.report.detection import ALL, SAME_STRATUM

WIDTH = 11.0  # inches; the page scales a figure to its column
INK = "#123456"  # stands for the page's text colour until the SVG is written
GREY, GREEN, ORANGE, BLUE = "#8a8a8a", "#1b9e77", "#d95f02", "#3b7dd8"
SMALLEST = 0.005  # share of the pool that a group has to be shown
LONGEST = 28  # characters of a column's name
SMOOTH = 10  # steps that the line through the warm-up's loss is a mean of
POINTS = 400  # of a line: more cannot be seen, and would fill the page
STYLE: dict[Any, Any] = {
    **{f"{part}color": INK for part in ("text.", "axes.edge", "axes.label", "axes.title", "xtick.", "ytick.")},
    **{"font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left", "axes.linewidth": 0.6},
    **{"axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"},
    "text.parse_math": False,  # a source's name may hold a dollar
}


@matplotlib.rc_context(STYLE)
def against_random(name: str, losses: pl.DataFrame, references: Sequence[str], by: str = "budget") -> str:
    """Draw the difference to random in held-out loss, a panel a budget: wide bars over seeds, thin ones over examples.

    The losses are of `comparison.against_random`, with the intervals of `comparison.by_question`. References are below
    the other methods, and do not set the scale, which the panels share. By `outcome` each has one of its own.
    """
    panels = budgets_of(losses) if by == "budget" else losses["outcome"].unique(maintain_order=True).to_list()
    means = losses.group_by("method").agg(pl.mean("difference")).sort("difference", "method")["method"].to_list()
    rows = sorted(means, key=lambda method: method in references)
    compared = losses.filter(~pl.col("method").is_in(references))
    figure, grid = _canvas(math.ceil(len(panels) / 3), min(len(panels), 3), 0.27 * len(rows) + 0.8, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        scale = compared if by == "budget" else compared.filter(outcome=panel)
        ends = scale.select("difference", "low", "high", "low_questions", "high_questions").to_numpy()
        low, high = np.nanmin(ends, initial=-0.001), np.nanmax(ends, initial=0.001)
        limits = (low - 0.06 * (high - low), high + 0.06 * (high - low))
        title = f"{budget_text(panel)} kept" if by == "budget" else panel.removeprefix(OF_TARGET)
        axes.axvspan(limits[0], 0, color=GREEN, alpha=0.07, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.text(0, -0.8, "← better \N{EN SPACE}", ha="right", fontsize=8.5, color=GREEN)
        axes.text(0, -0.8, "\N{EN SPACE} worse →", fontsize=8.5, color=ORANGE)
        for row in losses.filter(pl.col(by) == panel).iter_rows(named=True):
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
        axes.set(title=title, xlim=limits, ylim=(len(rows) - 0.4, -1.5))
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", length=0, pad=9)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4)
    return _svg(figure, name)


def auroc_map(areas: pl.DataFrame) -> str:
    """Draw `detection.aurocs` of methods and kinds of corruption, the mean over seeds: blue above 0.5, orange below."""
    kind, fair = pl.col("kind"), pl.col("within") == SAME_STRATUM
    means = areas.filter((kind == ALL) | ~fair).group_by("method", "kind", "within").agg(pl.mean("auroc"))
    place = pl.col("auroc").filter(kind == ALL, ~fair).first().over("method")
    means = means.sort(place, kind != ALL, ~fair, "method", "kind", descending=[True, *[False] * 4], nulls_last=True)
    name = pl.when(kind != ALL).then(kind.str.replace_all("_", " ")).when(fair)
    name = name.then(pl.lit("all, same source\nand length")).otherwise(pl.lit(ALL))
    tint = (pl.col("auroc") - 0.5) / 0.4
    return _heat("auroc", means.select("method", block=kind != ALL, column=name, value="auroc", tint=tint), ".2f")


def kept_map(kept: pl.DataFrame, methods: Sequence[str]) -> str | None:
    """Draw `composition.kept_of_groups` of one budget, the mean over seeds: blue where more than of the whole pool.

    Methods are the rows, in order. There is no figure where all of the pool is of the same group.
    """
    means = kept.group_by("by", "group", "method", maintain_order=True).agg(pl.mean("kept"), pl.first("examples"))
    whole = pl.col("kept").dot("examples").over("by", "method") / pl.sum("examples").over("by", "method")
    size = pl.col("examples") / pl.sum("examples").over("by", "method")
    # Twice as much as of the whole is as blue as half as much is orange.
    tint = (pl.col("kept") / whole).fill_nan(1).clip(2**-9).log(2) / 2
    cells = means.with_columns(tint=tint).filter(size >= SMALLEST).filter(pl.n_unique("group").over("by") > 1)
    cells = cells.sort(pl.col("method").cast(pl.Enum(methods)), maintain_order=True)
    block = pl.col("by").replace({"length": "response tokens"})
    cells = cells.select("method", block=block, column="group", value="kept", tint="tint")
    return None if cells.is_empty() else _heat("kept", cells, ".0%", slanted=True)


def overlap_map(overlap: pl.DataFrame) -> str | None:
    """Draw `composition.overlap` of one budget, the more shared the bluer; there is no figure of a single method."""
    cells = overlap.select("method", block=pl.lit("other"), column="other", value="shared", tint="shared")
    return _heat("overlap", cells, ".0%", slanted=True) if cells.height > 1 else None


@matplotlib.rc_context(STYLE)
def _heat(name: str, cells: pl.DataFrame, form: str, slanted: bool = False) -> str:
    """Draw a map of cells with their values, tinted from orange, at -1, to blue, at 1.

    Cells have the columns method (a row of the map), block (whose columns stand together), column, value and tint; the
    first ones come first. Where the names of columns are slanted, those of blocks are below.
    """
    rows = cells["method"].unique(maintain_order=True).to_list()
    columns = cells.select("block", "column").unique(maintain_order=True)
    lefts = dict(zip(columns.rows(), np.arange(columns.height) + 0.3 * columns["block"].rle_id(), strict=True))
    figure, grid = _canvas(1, 1, 0.28 * len(rows) + (1.4 if slanted else 0.5))
    axes = grid[0, 0]
    for cell in cells.iter_rows(named=True):
        x, y = lefts[cell["block"], cell["column"]], rows.index(cell["method"])
        tint = float(np.clip(cell["tint"] or 0, -1, 1))
        style: dict[str, Any] = {"color": BLUE if tint > 0 else ORANGE, "alpha": 0.75 * abs(tint), "linewidth": 0}
        axes.add_patch(Rectangle((x + 0.03, y + 0.04), 0.94, 0.92, **style))
        text = "–" if cell["value"] is None else format(cell["value"], form)
        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=9)
    axes.set(xlim=(0, max(lefts.values()) + 1), ylim=(len(rows), 0))
    names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name in columns["column"]]
    turned: dict[str, Any] = {"rotation": 40, "ha": "left", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks([left + 0.5 for left in lefts.values()], names, fontsize=9, **turned)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    for first in columns.unique("block", keep="first", maintain_order=True).rows() if slanted else []:
        axes.text(lefts[first], len(rows) + 0.25, first[0], va="top", fontsize=9)
    return _svg(figure, name)


@matplotlib.rc_context(STYLE)
def warmup(curves: pl.DataFrame, target: float | None) -> str:
    """Draw the loss and the trash share of each layer over the steps of the warm-up, a line a seed.

    Curves have the columns seed, step, nll or contrast, and trash_shares (a list, one number a routed layer). `target`
    is the trash share that every layer is to have; None where the objective has no budget.
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
        trash.axhline(target, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
    loss.set(title=f"{lowered} of the warm-up", xlabel="step")
    trash.set(title="trash share by layer (dark: first)", xlabel="step", ylim=(0, 1))
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
