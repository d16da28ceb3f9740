"""Figures of the routers: how the warm-up went, and what they keep after it."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
import polars as pl
from matplotlib.ticker import MaxNLocator

from moesift.report.figures.drawing import GREY, INK, STYLE, canvas, colours, svg

SMOOTH = 10  # steps of the warm-up that the line through its noisy loss is a mean of
POINTS = 400  # of a line: more cannot be seen, and would fill the page


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
        figure, grid = canvas(1, 2 if target is None else 3, height=3.1)
        loss, shares, *driver = grid[0]
        for _, of_seed in curves.sort("seed", "step").group_by("seed", maintain_order=True):
            smooth = pl.col(lowered).rolling_mean(SMOOTH, min_samples=1)
            of_seed = of_seed.with_columns(smooth=smooth).gather_every(math.ceil(of_seed.height / POINTS))
            steps = of_seed["step"].to_numpy()
            loss.plot(steps, of_seed[lowered], color=GREY, alpha=0.4, linewidth=0.7)
            loss.plot(steps, of_seed["smooth"], color=INK, linewidth=1.2)
            for axes, column in zip((shares, *driver), ("trash_shares", "multipliers"), strict=False):
                lines = np.array(of_seed[column].to_list())  # (steps, layers)
                for layer in range(layers):
                    axes.plot(steps, lines[:, layer], color=shades[layer], linewidth=0.9, label=f"layer {layer}")
        shares.set_ylim(0, 1)
        if target is not None:
            shares.axhline(target, color=INK, linestyle="--", linewidth=1)
            driver[0].axhline(0, color=INK, linestyle="--", linewidth=1)
        titles = (
            f"{'loss (nats per token' if lowered == 'nats' else 'contrast of negatives (nats'}; mean of {SMOOTH} steps)",
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
        return svg(figure, "warmup")


def keep_shares(shares: pl.DataFrame, target: float | None, methods: Sequence[str]) -> str:
    """Draw the keep share of each routed layer: the median over examples, a line a seed, and the middle 80% as a band.

    Args:
        shares: columns method, seed, and those of `keep_shares.by_layer`.
        target: the keep share that every layer is to have on average (1 - rho); None where the objective has no budget.
        methods: all that are compared, for their colours.
    """
    with matplotlib.rc_context(STYLE):
        figure, grid = canvas(1, 1, height=2.8)
        axes = grid[0, 0]
        for (method, seed), found in shares.group_by("method", "seed", maintain_order=True):
            colour = colours(methods)[method]
            first = seed == shares["seed"].min()
            label = method if first else None
            axes.plot(found["layer"], found["median"], color=colour, marker="o", markersize=4, label=label)
            if first:
                axes.fill_between(found["layer"], found["low"], found["high"], color=colour, alpha=0.2, linewidth=0)
        if target is not None:
            axes.axhline(target, color=INK, linestyle="--", linewidth=1, label="target of the mean")
        axes.set_ylim(0, 1)
        axes.set_xlabel("routed layer")
        axes.set_title("keep share", loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return svg(figure, "keep_shares")
