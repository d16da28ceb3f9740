"""The figures of the study: functions of one part of study.json (see `study_page`) that return a matplotlib figure.

They are PNGs on white, as a Markdown page shows them, and readable at a width of 1,200 pixels. A number that is null is
left out. Nothing is drawn, and None returned, where there is nothing to show.
"""

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator
from PIL import Image

from moesift.data.corruptions import MAKE
from moesift.report.figures.drawing import GREY, PALETTE
from moesift.report.figures.drawing import STYLE as PAGE_STYLE
from moesift.report.metrics import RANDOM

MEAN = "mean"
CEILINGS = ("probe_kind", "probe_source")  # probes that are told labels: what could be read, not a method to select by
WIDTH = 10.5  # inches
INK = "#222222"
PAGE_INKS = [key for key, value in PAGE_STYLE.items() if value == PAGE_STYLE["text.color"]]
STYLE: dict[Any, Any] = PAGE_STYLE | dict.fromkeys(PAGE_INKS, INK)


def auroc(part: Mapping[str, Any], left_out: Sequence[str] = ()) -> Figure | None:
    """Draw the AUROC of each kind of corruption and method as a heat map, with its 95% interval over seeds.

    Methods stand by their mean over kinds, the highest first; to the right, apart, the probes. Below, apart, the mean.

    Args:
        part: of study.json.
        left_out: kinds that the mean leaves out.
    """
    cells = {(row["kind"], row["method"]): row["auroc"] for row in part["detection"]}
    methods = ranked(part)
    ceilings = [method for method in CEILINGS if any(method == other for _, other in cells)]
    kinds = kinds_of(part)
    if "auroc" not in drawable(part):
        return None
    gap = 0.25  # of a cell, between what is set apart
    columns = {method: place + gap * (method in ceilings) for place, method in enumerate([*methods, *ceilings])}
    rows = {kind: place + gap * (kind == MEAN) for place, kind in enumerate([*kinds, MEAN])}
    right, bottom = max(columns.values()) + 1, max(rows.values()) + 1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.5 + 0.37 * bottom), layout="constrained")
        axes = figure.subplots()
        # The colours span all that an AUROC can be: what looks strong is strong.
        shades = matplotlib.colormaps["RdBu"]
        for (kind, y), (method, x) in itertools.product(rows.items(), columns.items()):
            value, low, high = ((cells.get((kind, method)) or {}).get(end) for end in ("value", "low", "high"))
            colour = "#eeeeee" if value is None else matplotlib.colors.to_hex(shades(value))
            axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white"))
            ink, bold = readable_on(colour), "bold" if kind == MEAN else "normal"
            ends = "" if low is None or high is None else f"{short(low)} – {short(high)}"
            text = "–" if value is None else short(value)
            axes.text(x + 0.5, y + (0.34 if ends else 0.5), text, color=ink, ha="center", va="center", weight=bold)
            axes.text(x + 0.5, y + 0.75, ends, color=ink, ha="center", va="center", fontsize=6.5)
        axes.set_xlim(0, right)
        axes.set_ylim(bottom, 0)
        axes.set_xticks([x + 0.5 for x in columns.values()], [name.replace("_", "_\n", 1) for name in columns])
        axes.set_yticks(
            [y + 0.5 for y in rows.values()], ["mean over kinds" if kind == MEAN else kind for kind in rows]
        )
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.tick_params(axis="x", labelsize=9 if len(columns) < 10 else 7.5)  # of long names side by side
        axes.spines[["left", "bottom"]].set_visible(False)
        if ceilings:
            where = (columns[ceilings[0]] + right) / 2
            axes.text(where, bottom + 0.1, "supervised probes", ha="center", va="top", fontsize=9)
        there = [kind for kind in left_out if kind in kinds]
        apart = f"; the mean is without {' and '.join(there)}" if there else ""
        note = f"AUROC of clean against spoilt examples, its 95% interval over seeds; 0.5 is chance{apart}"
        figure.supxlabel(note, fontsize=9)
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 1), shades)
        bar = figure.colorbar(scale, ax=axes, fraction=0.02, pad=0.01, aspect=40, ticks=[0, 0.25, 0.5, 0.75, 1])
        bar.ax.spines["outline"].set_visible(False)
        bar.ax.tick_params(labelsize=8)
        return figure


def doses(part: Mapping[str, Any]) -> Figure | None:
    """Draw the mean AUROC over the share of noise and, beside it, what share of the best fifth is clean.

    None where there are fewer than two shares of noise.
    """
    noises = sorted({row["noise"] for row in part["doses"]})
    methods = list(dict.fromkeys(row["method"] for row in part["doses"]))
    if "doses" not in drawable(part):
        return None
    styles = styles_of(part)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        areas, kept = figure.subplots(1, 2)
        for axes, name in ((areas, "auroc"), (kept, "kept_clean")):
            for method in methods:
                own = sorted((row for row in part["doses"] if row["method"] == method), key=lambda row: row["noise"])
                found = [row[name] if name == "auroc" else {"value": row[name]} for row in own]
                line(axes, [row["noise"] for row in own], found, method, styles[method])
            axes.margins(x=0.03)
            axes.set_xlabel("share of spoilt examples in the pool")
            axes.xaxis.set_major_locator(FixedLocator(noises))
        areas.axhline(0.5, color=GREY, linestyle="--", linewidth=1, zorder=0)
        areas.set_title("mean AUROC over kinds (band: 95% interval over seeds)", loc="left")
        kept.set_title("clean share of the best 20%, the control left out", loc="left")
        name_lines(areas, figure.get_figheight())
        name_lines(kept, figure.get_figheight())
        return figure


def training(part: Mapping[str, Any]) -> Figure | None:
    """Draw how far the held-out loss of each arm is from random's, paired by seed, a panel for each ratio.

    The lowest in the mean stands on top. A full mark says that the interval excludes zero; the number beside a mark is
    the share of the oracle gap that is closed, where there is a gap. None where nothing was compared with random.
    """
    if "training" not in drawable(part):
        return None
    tuned = tuned_beside_random(part)
    ratios = sorted({row["ratio"] for row in tuned})
    apart: dict[str, list[float]] = {}
    for row in tuned:
        apart.setdefault(row["arm"], []).append(row["against_random"]["value"])
    places = {arm: place for place, arm in enumerate(sorted(apart, key=lambda arm: np.mean(apart[arm])))}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 1.2 + 0.27 * len(places)), layout="constrained")
        panels = figure.subplots(1, len(ratios), sharex=True, sharey=True, squeeze=False)[0]
        for axes, ratio in zip(panels, ratios, strict=True):
            axes.axvline(0, color=GREY, linestyle="--", linewidth=1, zorder=0)
            for row in (row for row in tuned if row["ratio"] == ratio):
                value, low, high = (row["against_random"][end] for end in ("value", "low", "high"))
                ends, told = [[0], [0]], False
                if low is not None:
                    ends, told = [[value - low], [high - value]], low > 0 or high < 0
                colour = "#000000" if row["arm"] == "oracle" else PALETTE[0]
                y = places[row["arm"]]
                axes.errorbar(
                    value,
                    y,
                    xerr=ends,
                    color=colour,
                    marker="o",
                    markersize=5,
                    mfc=colour if told else "white",
                    capsize=2,
                )
                if row["gap"] is not None and row["gap"]["value"] is not None:
                    share = f"{row['gap']['value']:.0%}" if row["gap"]["value"] > -1 else "< -100%"
                    axes.annotate(
                        share, (1, y), xycoords=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8
                    )
            axes.set_title(f"{100 * ratio:.3g}% kept", loc="left")
        panels[0].set_yticks(list(places.values()), list(places))
        panels[0].set_ylim(len(places) - 0.5, -0.5)
        panels[0].margins(x=0.15)  # room for the shares
        note = (
            "held-out loss minus that of a random part of the same size, nats per response token, paired by seed; "
            "below zero is better\nbars: 95% interval over seeds; a full mark: it excludes zero"
        )
        if any(row["gap"] for row in tuned):
            note += "; percentages: share of the oracle gap closed"
        figure.supxlabel(note, fontsize=9)
        return figure


def layers(part: Mapping[str, Any]) -> Figure | None:
    """Draw the mean AUROC of each routed layer alone, with its band; None where no router was judged."""
    methods = list(dict.fromkeys(row["method"] for row in part["layers"]))
    if "layers" not in drawable(part):
        return None
    styles = styles_of(part)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        for method in methods:
            own = sorted((row for row in part["layers"] if row["method"] == method), key=lambda row: row["layer"])
            line(axes, [row["layer"] for row in own], [row["auroc"] for row in own], method, styles[method])
        axes.margins(x=0.02)
        axes.axhline(0.5, color=GREY, linestyle="--", linewidth=1, zorder=0)
        axes.set_xlabel("routed layer, the first next to the input")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        title = "mean AUROC over kinds by one layer alone (band: 95% interval over seeds; dashed: chance)"
        axes.set_title(title, loc="left")
        name_lines(axes, figure.get_figheight())
        return figure


def drawable(part: Mapping[str, Any]) -> list[str]:
    """Return the names of the figures that the part has something for."""
    there = {
        "auroc": bool(part["detection"]),
        "doses": len({row["noise"] for row in part["doses"]}) > 1,
        "training": bool(tuned_beside_random(part)),
        "layers": any(row["auroc"]["value"] is not None for row in part["layers"]),
    }
    return [name for name, drawn in there.items() if drawn]


def drawn(part: Mapping[str, Any], left_out: Sequence[str] = ()) -> dict[str, Figure]:
    """Return the figures that the part has something for, by name; see `auroc` for what is left out."""
    figures = {
        "auroc": auroc(part, left_out),
        "doses": doses(part),
        "training": training(part),
        "layers": layers(part),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG of 150 dots an inch; the same input gives the same bytes.

    With 256 colours, which make it a third of the size.
    """
    written, smaller = io.BytesIO(), io.BytesIO()
    figure.savefig(written, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    image = Image.open(written).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(smaller, format="png", optimize=True, dpi=(150, 150))
    return smaller.getvalue()


def tuned_beside_random(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the training whose loss is compared with that of a random part of the same size."""
    return [row for row in part["training"] if row["against_random"] and row["against_random"]["value"] is not None]


def kinds_of(part: Mapping[str, Any]) -> list[str]:
    """Return the kinds of corruption of a part in the order in which `corruptions` has them, any others after them."""
    known = {kind: place for place, kind in enumerate(MAKE)}
    found = dict.fromkeys(row["kind"] for row in part["detection"] if row["kind"] != MEAN)
    return sorted(found, key=lambda kind: known.get(kind, len(known)))


def ranked(part: Mapping[str, Any]) -> list[str]:
    """Return the methods of a part without the ceilings, the highest mean AUROC first; those without one come last."""
    means = {row["method"]: row["auroc"]["value"] for row in part["detection"] if row["kind"] == MEAN}
    found = dict.fromkeys(row["method"] for row in part["detection"] if row["method"] not in CEILINGS)
    return sorted(found, key=lambda method: -math.inf if means.get(method) is None else means[method], reverse=True)


def styles_of(part: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the colour and the line of each method, the same in all figures of a part."""
    own = dict.fromkeys(row["method"] for row in part["detection"] if row["method"] not in (*CEILINGS, RANDOM))
    dashes = ["-", "--", ":"]  # where there are more names than colours
    coloured = {
        name: (PALETTE[place % len(PALETTE)], dashes[place // len(PALETTE) % len(dashes)])
        for place, name in enumerate(own)
    }
    return dict.fromkeys(CEILINGS, (INK, "-.")) | coloured | {RANDOM: (GREY, "-")}


def short(area: float) -> str:
    """Write a share with two decimals and no leading zero, as `.73`."""
    text = f"{area:.2f}"
    return text.replace("0.", ".", 1) if abs(area) < 1 else text


def readable_on(colour: str) -> str:
    """Return black or white, whichever has the higher contrast on a colour (WCAG 2.1, relative luminance)."""
    parts = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def line(
    axes: Axes, places: Sequence[float], found: Sequence[Mapping[str, Any]], name: str, style: tuple[str, str]
) -> None:
    """Draw a line of values and the band from low to high where there is one."""
    values, lows, highs = (
        np.array([interval.get(end) for interval in found], dtype=float) for end in ("value", "low", "high")
    )
    colour, dashes = style
    axes.plot(places, values, color=colour, linestyle=dashes, marker="o", markersize=3.5, linewidth=1.5, label=name)
    axes.fill_between(places, lows, highs, color=colour, alpha=0.13, linewidth=0)


def name_lines(axes: Axes, height: float) -> None:
    """Write the name of each line at its right end, moved apart where they would overlap; `height` in inches."""
    named = []
    for line in axes.get_lines():
        points = np.array([line.get_xdata(), line.get_ydata()], dtype=float)  # (2, n)
        points = points[:, np.isfinite(points).all(axis=0)]
        if points.size and not str(line.get_label()).startswith("_"):  # matplotlib's own names of what has none
            named.append((line, *points[:, -1].tolist()))
    named.sort(key=lambda entry: entry[2])
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    step = 0.17 / max(0.5, height - 0.9)  # a line of text, in shares of the axes: the rest is title and labels
    wanted = [(y - low) / (high - low) for _, _, y in named]
    for (line, x, y), place in zip(named, spread(wanted, step), strict=True):
        arrow = {
            "arrowstyle": "-",
            "color": line.get_color(),
            "linewidth": 0.5,
            "shrinkA": 0,
            "shrinkB": 0,
            "relpos": (0, 0.5),
        }
        axes.annotate(
            str(line.get_label()),
            (x, y),
            xytext=(1.04, place),
            textcoords="axes fraction",
            color=line.get_color(),
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops=arrow,
        )


def spread(places: Sequence[float], step: float) -> list[float]:
    """Return sorted places moved as little as need be so that neighbours are at least `step` apart.

    Places that would overlap become a group around the mean of where its members want to be, but within 0 and 1.
    """
    groups: list[tuple[float, int]] = []  # centre and size

    def inside(centre: float, size: int) -> tuple[float, int]:
        margin = min(step * (size - 1) / 2, 0.5)
        return min(max(centre, margin), 1 - margin), size

    for place in places:
        groups.append(inside(place, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < step * (groups[-1][1] + groups[-2][1]) / 2:
            (one, n), (other, m) = groups[-2], groups[-1]
            groups[-2:] = [inside((one * n + other * m) / (n + m), n + m)]
    return [centre + step * (k - (size - 1) / 2) for centre, size in groups for k in range(size)]
