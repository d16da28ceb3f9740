"""What the figures share: colours, style and the way into a page.

Text and axes are drawn in the page's own text colour, so that a figure is readable on light and on dark. The same input
gives the same bytes.
"""

import io
import itertools
import re
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from moesift.report.metrics import RANDOM

WIDTH = 11.0  # inches; the page scales a figure to its column
INK = "#123456"  # stands for the page's text colour until the SVG is written
GREY = "#808080"

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
    "text.parse_math": False,  # a source's name may hold a dollar
}


def colours(methods: Sequence[str]) -> dict[str, str]:
    """Return the colour of each method, in every figure: grey for random, the rest by their place."""
    palette = itertools.cycle(PALETTE)
    return {method: GREY if method == RANDOM else next(palette) for method in methods}


def canvas(rows: int, columns: int, height: float, share: Literal["none", "row"] = "none") -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes, (rows, columns); `height` is that of a row in inches, `share` is of both scales."""
    figure = Figure(figsize=(WIDTH, height * rows + 0.4), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)


def svg(figure: Figure, name: str) -> str:
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
