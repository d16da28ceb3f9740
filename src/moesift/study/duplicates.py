"""Copies of examples, exact and near, and how many of them the search for near-duplicates finds."""

import random
from collections.abc import Sequence
from typing import Any

import polars as pl

from moesift.data.corruptions import WORD
from moesift.data.near_duplicates import near_duplicates

# Shares of the words of a copy that are replaced by words of other examples; at 0 only the case of letters is changed.
REPLACED = (0.0, 0.02, 0.05, 0.1, 0.2)
COPIED = 0.3  # share of the examples that are copied, for each of the above anew


def copy(text: str, share: float, words: Sequence[str], rng: random.Random) -> str:
    """Return a text in upper case with this share of its words, rounded, replaced by words drawn from `words`."""
    places = [found.span() for found in WORD.finditer(text)]
    written = text
    for start, end in sorted(rng.sample(places, round(share * len(places))), reverse=True):
        written = written[:start] + rng.choice(words) + written[end:]
    return written.upper()


def found(texts: Sequence[str], thresholds: Sequence[float], seed: int) -> list[dict[str, Any]]:
    """Return how many copies are found as near-duplicates of what they were copied from, one row a share and threshold.

    Args:
        texts: of the examples, (N,).
        thresholds: Jaccard similarities from which on two texts are near-duplicates.
        seed: of what is copied and replaced.

    Returns:
        Rows with `replaced`, `threshold`, `copies`, `found` (the share of the copies) and `others`, how many pairs of
        two originals there are for each original.
    """
    rng = random.Random(f"copies-{seed}")
    words = [word for text in texts for word in WORD.findall(text)]
    names = [f"{number}" for number in range(len(texts))]
    rows = []
    for share in REPLACED:
        copied = sorted(rng.sample(range(len(texts)), round(COPIED * len(texts))))
        copies = [copy(texts[number], share, words, rng) for number in copied]
        ids = [*names, *(f"copy-{number}" for number in copied)]
        pairs = near_duplicates(ids, [*texts, *copies], min(thresholds))
        for threshold in thresholds:
            near = pairs.filter(pl.col("similarity") >= threshold)
            own = near.filter(pl.col("other") == pl.concat_str(pl.lit("copy-"), "id"))
            others = near.filter(~pl.col("other").str.starts_with("copy-"))
            rows.append(
                {
                    "replaced": share,
                    "threshold": threshold,
                    "copies": len(copies),
                    "found": own.height / len(copies),
                    "others": others.height / len(texts),
                }
            )
    return rows
