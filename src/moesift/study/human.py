"""Pairs of an example and its revision by an expert: does a score prefer the revised side?"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moesift.errors import UserError
from moesift.study.intervals import Interval, paired_ratios

SIDES = ("Raw", "Revised")
SOURCE = "expert revisions"  # of both sides: a score that is taken within a source is to compare them
FIELDS = ("Instruction", "Input", "Response")


def alpaca(rows: Sequence[Mapping[str, Any]], count: int, seed: int, path: str) -> list[dict[str, dict[str, str]]]:
    """Return `count` pairs, each as rows of the alpaca format by side, of those in which the response alone differs.

    With another instruction the two sides would be answers to different questions. Rows are those of CoachLM's expert
    revisions (Liu et al., arXiv 2311.13246): Raw and Revised Instruction, Input and Response.

    Raises:
        UserError: names the file and the row that lacks a key, or says that there are too few such pairs.
    """
    pairs = []
    for number, row in enumerate(rows):
        keys = [f"{side} {field}" for side in SIDES for field in FIELDS]
        if wrong := [key for key in keys if not isinstance(row, Mapping) or not isinstance(row.get(key), str)]:
            raise UserError(f"{path}: row {number} has no text under {', '.join(wrong)}")
        (asked, response), (asked_again, revised) = (
            ([row[f"{side} Instruction"], row[f"{side} Input"]], row[f"{side} Response"]) for side in SIDES
        )
        if asked == asked_again and response.strip() and revised.strip() and response.strip() != revised.strip():
            texts = dict(zip(SIDES, (response, revised), strict=True))
            pairs.append(
                {side: {"instruction": asked[0], "input": asked[1], "output": text} for side, text in texts.items()}
            )
    if len(pairs) < count:
        raise UserError(
            f"{path}: has {len(pairs)} pairs in which the response alone differs; study.human asks for {count}"
        )
    return random.Random(f"pairs-{seed}").sample(pairs, count)


def agreement(raw: np.ndarray, revised: np.ndarray, resamples: int) -> Interval | None:
    """Return the share of pairs whose revised side scores higher, ties half, with its bootstrap interval over pairs.

    Args:
        raw: the scores of the sides as they were, (N,), nan where there is none; such a pair takes no part.
        revised: those of the revised sides, (N,).
        resamples: how many to draw.
    """
    there = ~(np.isnan(raw) | np.isnan(revised))
    if not there.any():
        return None
    won = (np.sign(revised[there] - raw[there]) + 1) / 2  # (N,): 1, 0, or a half
    (found,) = paired_ratios(won[None], np.ones_like(won), np.zeros(len(won), int), resamples, seed=0)  # one stratum
    return found
