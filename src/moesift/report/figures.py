"""The figures of the page: functions of frames that return SVG.

Text and axes are drawn in the page's own text colour, and cells as a tint of its ground, so that a figure is readable
on light and on dark.
"""

import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from moesift.report.comparison import BASE, BETTER, HELDOUT, RANDOM, WORSE, budget_text, budgets_of
from moesift.report.detection import ALL, ALL_PAIRS, SAME_STRATUM

WIDTH = 11.0  # inches; the page scales a figure to its column
INK = "#123456"  # stands for the page's text colour until the SVG is written
GREY, GREEN, ORANGE, BLUE = "#8a8a8a", "#1b9e77", "#d95f02", "#3b7dd8"
# After Okabe and Ito, and Paul Tol's "muted": distinct with colour blindness, and neither too light nor too dark.
PALETTE = ("#D55E00", "#3B7DD8", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999933", "#B04FA0", "#E15759", "#44AA99")
SMOOTH = 10  # steps that the line through the warm-up's loss is a mean of
SMALLEST = 0.005  # share of the pool that a group has to be shown
POINTS = 400  # of a line: more cannot be seen, and would fill the page
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a source's name may hold a dollar
}


@matplotlib.rc_context(STYLE)
def against_random(differences: pl.DataFrame, references: Sequence[str]) -> str:
    """Draw the difference to random in held-out loss, a panel a budget: a wide bar over seeds, a thin one over examples.

    Args:
        differences: of `comparison.against_random`, with the intervals of `comparison.by_question`.
        references: methods that stand below the others, and do not set the scale.
    """
    losses = differences.filter(outcome=HELDOUT).drop_nulls("difference")
    budgets = budgets_of(losses)
    means = losses.group_by("method").agg(pl.mean("difference")).sort("difference", "method")
    compared = [method for method in means["method"] if method not in references]
    rows = [*compared, *(method for method in references if method in means["method"])]
    own = losses.filter(pl.col("method").is_in(compared))
    ends = own.select("difference", "low", "high", "low_questions", "high_questions").to_numpy()
    low, high = (np.nanmin(ends, initial=0), np.nanmax(ends, initial=0)) if own.height else (-0.01, 0.01)
    margin = 0.06 * (high - low)
    figure, grid = _canvas(1, len(budgets), 0.27 * len(rows) + 0.8, sharey=True)
    for axes, budget in zip(grid[0], budgets, strict=True):
        axes.set_xlim(low - margin, high + margin)
        axes.axvspan(low - margin, 0, color=GREEN, alpha=0.07, linewidth=0)
        axes.axvline(0, color=GREY, linewidth=1)
        for row in losses.filter(budget=budget).iter_rows(named=True):
            place, x = rows.index(row["method"]), row["difference"]
            is_reference = row["method"] in references
            colour = GREY if is_reference else {BETTER: GREEN, WORSE: ORANGE, None: BLUE}.get(row["verdict"], GREY)
            if row["low"] is not None and not is_reference:
                axes.hlines(place, row["low"], row["high"], color=colour, linewidth=7, alpha=0.3)
            if row["low_questions"] is not None:
                axes.hlines(place, row["low_questions"], row["high_questions"], color=colour, linewidth=1.2)
            inside = low - margin <= x <= high + margin
            marker = "D" if inside and is_reference else "o" if inside else "<" if x < 0 else ">"
            x = min(max(x, low - margin), high + margin)
            axes.plot(x, place, marker, color=colour, markersize=6, clip_on=False, zorder=3)
            text = f"{row['difference']:+.3f}"
            axes.text(1.03, place, text, transform=axes.get_yaxis_transform(), va="center", color=INK, fontsize=9)
        axes.set_title(f"{budget_text(budget)} kept")
        axes.text(0, -0.8, "← better \N{EN SPACE}", ha="right", fontsize=8.5, color=GREEN)
        axes.text(0, -0.8, "\N{EN SPACE} worse →", fontsize=8.5, color=ORANGE)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.4, -1.5)
        axes.tick_params(axis="y", length=0, pad=9)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=4)
    return _svg(figure, "random")


@matplotlib.rc_context(STYLE)
def by_budget(summary: pl.DataFrame, methods: Sequence[str], references: Sequence[str]) -> str:
    """Draw each outcome over the share that is kept: held-out loss large with its methods named, tasks beside it.

    Random is a band with its 95% interval, the references are dashed lines, or a note where they are far off.
    """
    tasks = [name for name in summary["outcome"].unique(maintain_order=True) if name != HELDOUT]
    across = math.ceil(len(tasks) / 3)
    height = max(3.6, 0.24 * len(methods) + 1)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    down = math.ceil(len(tasks) / across) if tasks else 1
    grid = figure.add_gridspec(down, 1 + across, width_ratios=[1.7, *[1.0] * across])
    panels = {HELDOUT: figure.add_subplot(grid[:, 0])}
    panels |= {task: figure.add_subplot(grid[n % down, 1 + n // down]) for n, task in enumerate(tasks)}
    colours = _colours(methods)
    for outcome, axes in panels.items():
        found = summary.filter(outcome=outcome).drop_nulls("value")
        own = found.filter(~pl.col("method").is_in([*references, RANDOM])).sort("ratio")
        labels = {}
        for (method, _), line in own.group_by("method", pl.col("budget").str.head(5), maintain_order=True):
            colour = colours[str(method)]
            axes.plot(line["ratio"], line["value"], "o-", color=colour, markersize=4, linewidth=1.3)
            labels[str(method)] = (line["value"][-1], colour)
        random = found.filter(method=RANDOM).sort("ratio")
        if random.height:
            axes.plot(random["ratio"], random["value"], "o-", color=GREY, linewidth=2.5, markersize=4, zorder=1)
            low, high = (random[end].fill_null(random["value"]).to_numpy() for end in ("low", "high"))
            if random.height > 1:
                axes.fill_between(random["ratio"], low, high, color=GREY, alpha=0.2, linewidth=0)
            labels[RANDOM] = (random["value"][-1], GREY)
        near = _reference_lines(axes, found.filter(pl.col("method").is_in(references)))
        _labels(axes, {**labels, **near} if outcome == HELDOUT else near)
        axes.set_xscale("log")
        ratios = summary.filter(pl.col("budget").str.starts_with("ratio"), ~pl.col("method").is_in(references))["ratio"]
        ticks = (ratios if len(ratios) else own["ratio"]).unique().sort().to_list()
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [f"{100 * tick:.2g}%" for tick in ticks])
        axes.set_xlim(ticks[0] / 1.15, ticks[-1] * 1.15)
        metric = found["metric"][0] if found.height else ""
        axes.set_title("held-out loss, nats per token" if outcome == HELDOUT else f"{outcome}, {metric}")
        axes.locator_params(axis="y", nbins=5 if outcome == HELDOUT else 3)
        if outcome == HELDOUT:
            axes.set_xlabel("share of the pool that is kept")
    return _svg(figure, "budgets")


def _reference_lines(axes: Axes, references: pl.DataFrame) -> dict[str, tuple[float, str]]:
    """Draw references that are near what is there and return their labels; name the others, with their value."""
    low, high = axes.get_ylim()
    near, notes = {}, []
    for method, value in references["method", "value"].iter_rows():
        if low - 0.5 * (high - low) <= value <= high + 0.5 * (high - low):
            axes.axhline(value, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
            near[method] = (value, INK)
        else:
            notes.append(f"{method} {value:.3f} {'↑' if value > high else '↓'}")
    axes.text(0.99, 0.98, "   ".join(notes), transform=axes.transAxes, va="top", ha="right", fontsize=8.5)
    return near


def _labels(axes: Axes, labels: Mapping[str, tuple[float, str]]) -> None:
    """Name lines, by their value and colour, at their right ends; moved apart where names would overlap."""
    low, high = axes.get_ylim()
    least = (high - low) / max(18, len(labels))
    names = sorted(labels, key=lambda name: labels[name][0])
    places = [labels[name][0] for name in names]
    for _ in range(200):  # push neighbours apart until all have room
        for i, j in itertools.pairwise(range(len(places))):
            overlap = max(0.0, least - (places[j] - places[i]))
            places[i], places[j] = places[i] - overlap / 2, places[j] + overlap / 2
    for name, place in zip(names, places, strict=True):
        style = {"color": labels[name][1], "fontweight": "bold" if name == RANDOM else "normal", "fontsize": 9}
        axes.text(1.02, place, name, transform=axes.get_yaxis_transform(), va="center", **style)


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
    lefts = np.arange(len(columns)) + 0.15 * (np.arange(len(columns)) > 1)
    _heat(grid[0, 0], values, lefts, (values - 0.5) / 0.4, methods, names, ".2f")
    return _svg(figure, "auroc")


@matplotlib.rc_context(STYLE)
def kept_map(kept: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw which share of each group a selection keeps, the mean over seeds: blue where more than of the whole pool.

    Args:
        kept: the frame of `composition.kept_of_groups`, of one budget.
        methods: the rows, in order.
    """
    means = kept.group_by("by", "group", "method", maintain_order=True).agg(pl.mean("kept"), pl.first("examples"))
    groups = means.select("by", "group", "examples").unique(maintain_order=True)
    groups = groups.filter(pl.col("examples") >= SMALLEST * pl.sum("examples").over("by"))
    groups = groups.filter(pl.len().over("by") > 1)  # of one group there is nothing to compare
    if groups.is_empty():
        return ""
    cells = {tuple(cell): share for *cell, share in means["method", "by", "group", "kept"].iter_rows()}
    columns = list(groups["by", "group"].iter_rows())
    values = np.array([[cells[method, *column] for column in columns] for method in methods])  # (M, G)
    own = means.filter(by=means["by"][0]).with_columns(number=pl.col("kept") * pl.col("examples"))
    overall = {m: frame["number"].sum() / frame["examples"].sum() for (m,), frame in own.group_by("method")}
    # Twice as much as of the pool is as blue as half as much is orange.
    strength = np.log2(np.maximum(values / [[overall[method]] for method in methods], 2**-9)) / 2
    steps = [0.35 * (by != before) for (before, _), (by, _) in itertools.pairwise([columns[0], *columns])]
    lefts = np.arange(len(columns)) + np.cumsum(steps)
    figure, grid = _canvas(1, 1, 0.27 * len(methods) + 1.4)
    names = [group if len(group) <= 18 else f"{group[:17]}…" for _, group in columns]
    _heat(grid[0, 0], values, lefts, strength, methods, names, ".0%", rotation=40)
    for by, of_by in itertools.groupby(zip(groups["by"], lefts, strict=True), key=lambda pair: pair[0]):
        title = {"length": "response tokens", "corruption": "corrupted as"}.get(by, by)
        grid[0, 0].text(next(of_by)[1], len(methods) + 0.25, title, va="top", fontsize=9)
    return _svg(figure, "kept")


def _heat(
    axes: Axes,
    values: np.ndarray,
    lefts: np.ndarray,
    strength: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    form: str,
    rotation: float = 0,
) -> None:
    """Draw cells with their value, tinted by strength in [-1, 1]: blue above 0, orange below."""
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            tint = float(np.clip(strength[row, column], -1, 1))
            cell = Rectangle((lefts[column] + 0.03, row + 0.04), 0.94, 0.92, color=BLUE if tint > 0 else ORANGE)
            cell.set_alpha(0.75 * abs(tint))
            cell.set_linewidth(0)
            axes.add_patch(cell)
        text = format(value, form) if np.isfinite(value) else "–"
        axes.text(lefts[column] + 0.5, row + 0.5, text, ha="center", va="center", fontsize=9)
    axes.set_xlim(0, lefts[-1] + 1)
    axes.set_ylim(len(rows), 0)
    slanted = {"rotation": rotation, "ha": "left", "rotation_mode": "anchor"} if rotation else {}
    axes.set_xticks(lefts + 0.5, columns, fontsize=9, **slanted)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[["left", "bottom"]].set_visible(False)


@matplotlib.rc_context(STYLE)
def histograms(scores: pl.DataFrame, kept: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw how many examples of the pool have which score, and which of them are kept; corrupted ones as a line.

    Args:
        scores: columns method, id, score, corrupted, of one seed; an example without a score is left out.
        kept: columns method, id, of the same seed and one budget.
        methods: the panels, in order.
    """
    figure, grid = _canvas(math.ceil(len(methods) / 4), min(len(methods), 4), 1.25)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, method in zip(grid.flat, methods, strict=False):
        scored = scores.filter(method=method).drop_nulls("score")
        axes.set_title(method, fontsize=10)
        if scored.height:
            bins = _bins(scored["score"].to_numpy())
            selected = scored.join(kept.filter(method=method), on="id", how="semi")
            corrupted = scored.filter("corrupted")
            for part, style in (
                (scored, {"fill": True, "color": GREY, "alpha": 0.35}),
                (selected, {"fill": True, "color": BLUE, "alpha": 0.9}),
                (corrupted, {"color": ORANGE, "linewidth": 1.2}),
            ):
                counts, _ = np.histogram(np.clip(part["score"].to_numpy(), bins[0], bins[-1]), bins)
                if part.height:
                    axes.stairs(counts, bins, **style)
            axes.set_axis_on()
            axes.spines["left"].set_visible(False)
            axes.set_yticks([])
            axes.locator_params(axis="x", nbins=4)
    return _svg(figure, "histograms")


def _bins(scores: np.ndarray, count: int = 40) -> np.ndarray:
    """Return bin edges between the quantiles 0.01 and 0.99; bins hold whole numbers where the scores are whole."""
    low, high = np.quantile(scores, [0.01, 0.99])
    if np.all(scores == np.round(scores)):
        return np.arange(math.floor(low) - 0.5, high + 1, max(1, math.ceil((high - low + 1) / count)))
    return np.linspace(low, high if high > low else low + 1, count + 1)


@matplotlib.rc_context(STYLE)
def routers(curves: pl.DataFrame, shares: pl.DataFrame, target: float | None) -> str:
    """Draw the loss and trash shares over the warm-up's steps, and what each layer keeps after it.

    Args:
        curves: columns seed, epoch, step, nll or contrast, trash_shares (a list, one number a routed layer).
        shares: columns seed, layer, low, median, high: keep shares over the examples of the pool, after the warm-up.
        target: the trash share that every layer is to have; None where the objective has no budget.
    """
    lowered = "contrast" if "contrast" in curves.columns else "nll"
    layers = len(curves["trash_shares"][0])
    shades = matplotlib.colormaps["viridis"](np.linspace(0.2, 0.85, layers))
    figure, grid = _canvas(1, 3, 2.7)
    loss, trash, keep = grid[0]
    for _, of_seed in curves.sort("seed", "step").group_by("seed", maintain_order=True):
        smooth = of_seed.with_columns(smooth=pl.col(lowered).rolling_mean(SMOOTH, min_samples=1))
        smooth = smooth.gather_every(math.ceil(of_seed.height / POINTS))
        loss.plot(smooth["step"], smooth[lowered], color=GREY, alpha=0.4, linewidth=0.6)
        loss.plot(smooth["step"], smooth["smooth"], color=BLUE, linewidth=1.4)
        lines = np.array(smooth["trash_shares"].to_list())  # (steps, layers)
        for layer in range(layers):
            trash.plot(smooth["step"], lines[:, layer], color=shades[layer], linewidth=1)
    for _, of_seed in shares.group_by("seed", maintain_order=True):
        keep.vlines(of_seed["layer"], of_seed["low"], of_seed["high"], color=BLUE, alpha=0.3, linewidth=7)
        keep.plot(of_seed["layer"], of_seed["median"], "o", color=BLUE, markersize=5)
    if target is not None:
        for axes, level in ((trash, target), (keep, 1 - target)):
            axes.axhline(level, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
    loss.set_title(f"{'loss of the warm-up' if lowered == 'nll' else 'contrast of the warm-up'}, nats")
    trash.set_title("trash share by layer (dark: first)")
    keep.set_title("keep share of the pool by layer")
    keep.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes, label in ((loss, "step"), (trash, "step"), (keep, "routed layer")):
        axes.set_xlabel(label)
    for axes in (trash, keep):
        axes.set_ylim(0, 1)
    return _svg(figure, "routers")


def _colours(methods: Sequence[str]) -> dict[str, str]:
    palette = itertools.cycle(PALETTE)
    return {method: GREY if method in (RANDOM, BASE) else next(palette) for method in methods}


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
