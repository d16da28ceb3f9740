"""Numbers, intervals and lists as words and cells, for the page of the study.

An interval is a dictionary with value, low and high, at 95%; any of them may be null. Where a number is missing a
sentence says so, and a cell of a table holds a dash.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from moesift.study.figures import MEAN

MISSING = "–"
NOT_COMPUTED = "not computed"
Found = Mapping[str, Any] | None  # an interval


def sign(difference: Found) -> str:
    """Return above, below or neither for where an interval lies to zero, unsure without ends, missing without value."""
    if value_of(difference) is None or difference is None:
        return "missing"
    if difference["low"] is None or difference["high"] is None:
        return "unsure"
    return "above" if difference["low"] > 0 else "below" if difference["high"] < 0 else "neither"


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *lines))


def title(kind: str) -> str:
    """Return a kind of corruption, or their mean, as the first cell of a row."""
    return "mean over kinds" if kind == MEAN else f"`{kind}`"


def shown(found: Found, form: str, missing: str = NOT_COMPUTED) -> str:
    """Return a number with its interval in brackets, the number alone without one."""
    if found is None or found["value"] is None:
        return missing
    if found["low"] is None or found["high"] is None:
        return number(found["value"], form)
    return f"{number(found['value'], form)} [{number(found['low'], form)}, {number(found['high'], form)}]"


def marked(difference: Found) -> str:
    """Return a difference for a cell, in bold where its interval excludes zero."""
    text = shown(difference, "+.3f", MISSING)
    return f"**{text}**" if sign(difference) in ("above", "below") else text


def number(value: float | None, form: str) -> str:
    """Return a number, or a dash; what is rounded to zero keeps its minus only where signs are asked for."""
    if value is None:
        return MISSING
    text = format(value + 0, form)  # -0.0 + 0 is 0.0
    return text if "+" in form else re.sub(r"^-(?=[0.]+%?$)", "", text)


def percent(share: float | None) -> str:
    """Return a share as a percentage, as short as it can be, or a dash."""
    return MISSING if share is None else f"{100 * share:.3g}%"


def probability(p: float | None) -> str:
    """Return a p-value with three decimals."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """Return a time in hours and minutes, in seconds where it is below a minute."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def value_of(found: Found) -> float | None:
    """Return the number of an interval, None where there is no interval or no number."""
    return None if found is None else found["value"]


def named(names: Iterable[str]) -> str:
    """Return names as code, in a list that reads as a sentence."""
    *others, last = [f"`{name}`" for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def sentence_of(text: str) -> str:
    """Return the text as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."


def loss(row: Mapping[str, Any] | None) -> float | None:
    """Return the held-out loss of a row of the training, None without one."""
    return None if row is None else value_of(row["nats"])


def mean_areas(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mean AUROC over kinds of each method, with its interval."""
    return {row["method"]: row["auroc"] for row in part["detection"] if row["kind"] == MEAN}
