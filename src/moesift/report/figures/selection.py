"""Figure of what is kept and what is thrown away."""

import itertools
from collections.abc import Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.patches import Rectangle

from moesift.report.figures.drawing import STYLE, canvas, svg

LONGEST = 18  # characters of a group's name
TITLES = {"source": "by source", "length": "by characters of the response", "script": "by script of the response"}


def kept_map(kept: pl.DataFrame, methods: Sequence[str]) -> str:
    """Draw the share of each group that a selection keeps as a heat map, a panel a ratio: what is left is thrown away.

    A cell is blue where a method keeps more of a group than the ratio, red where it keeps less; it is white where it
    keeps as much as a random selection would.

    Args:
        kept: the frame of `composition.kept_of_groups`.
        methods: the rows, in order.
    """
    ratios = kept["ratio"].unique().sort().to_list()
    groups = kept.select("by", "group", "pool").unique(maintain_order=True)
    examples = groups.filter(pl.col("by") == groups["by"][0])["pool"].sum()
    cells = {tuple(cell): share for *cell, share in kept.select("ratio", "method", "by", "group", "kept").iter_rows()}
    # A gap sets the sources, the lengths and the scripts apart.
    starts = np.cumsum([0.35 * (by != before) for before, by in itertools.pairwise([groups["by"][0], *groups["by"]])])
    lefts = np.arange(groups.height) + starts
    with matplotlib.rc_context(STYLE | {"figure.constrained_layout.h_pad": 0.15}):
        figure, grid = canvas(len(ratios), 1, height=0.27 * len(methods) + 1.3)
        for axes, ratio in zip(grid[:, 0], ratios, strict=True):
            for (row, method), (left, by, group) in itertools.product(
                enumerate(methods), zip(lefts, groups["by"], groups["group"], strict=True)
            ):
                share = cells[ratio, method, by, group]
                colour, ink = _shade(share / ratio)
                axes.add_patch(Rectangle((left, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.5))
                axes.text(left + 0.5, row + 0.5, _percent(share), color=ink, ha="center", va="center", fontsize=9)
            axes.set_xlim(0, lefts[-1] + 1)
            axes.set_ylim(len(methods), 0)
            names = [
                f"{_cut(group)} ({_percent(pool / examples)})" for group, pool in groups["group", "pool"].iter_rows()
            ]
            axes.set_xticks(lefts + 0.5, names, rotation=35, ha="left", rotation_mode="anchor", fontsize=9)
            axes.set_yticks(np.arange(len(methods)) + 0.5, methods)
            axes.tick_params(length=0, labeltop=True, labelbottom=False)
            axes.spines[["left", "bottom"]].set_visible(False)
            axes.set_title(f"{100 * ratio:g}% of the pool kept", loc="left")
            for by, of_by in itertools.groupby(zip(groups["by"], lefts, strict=True), key=lambda pair: pair[0]):
                axes.text(next(of_by)[1], len(methods) + 0.2, TITLES[by], va="top", fontsize=9)
        return svg(figure, "kept")


def _shade(times: float) -> tuple[str, str]:
    """Return the colour of a cell that keeps so many times as much as the ratio, and that of its text."""
    # Twice as much is as blue as half as much is red; four times is as strong as it gets.
    strength = float(np.clip(np.log2(max(times, 2**-9)) / 2, -1, 1))
    colour = matplotlib.colors.to_hex(matplotlib.colormaps["RdBu"](0.5 + strength / 2))
    return colour, "white" if abs(strength) > 0.6 else "black"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%" if share >= 0.0095 or share == 0 else f"{100 * share:.1f}%"


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
