"""Examples of the pool as readable text: the best, the middle and the worst of each method's ranking."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from moesift.report.metrics import RANDOM

SHOWN = 10  # from each part of a ranking
CHARACTERS = 300  # from each end of a message
MESSAGES = 2  # from each end of a conversation


def of_rankings(
    scores: pl.DataFrame, selections: pl.DataFrame, pool: pl.DataFrame, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the examples that each method ranks highest, in the middle and lowest, the most extreme first.

    Of a small pool the parts are shorter, so that they do not overlap. A random ranking is left out.

    Args:
        scores: columns method, id, score, of one seed; an example without a score has no place.
        selections: columns method, ratio, id, of the same seed: what was kept.
        pool: columns id, source, corruption, messages.
        methods: which, in order.

    Returns:
        A dictionary a method: `method`, and `best`, `middle` and `worst`, lists of examples with id, score, source,
        corruption, kept (the ratios at which it is), messages and left_out (how many of its messages are not shown).
    """
    parts = {method: _parts(scores.filter(method=method).drop_nulls("score")) for method in methods if method != RANDOM}
    ids = {row["id"] for part in parts.values() for rows in part.values() for row in rows}
    found = pool.filter(pl.col("id").is_in(ids)).select("id", "source", "corruption", "messages")
    texts = {row["id"]: row for row in found.to_dicts()}
    kept = selections.filter(pl.col("id").is_in(ids)).group_by("method", "id").agg(pl.col("ratio").sort())
    ratios = {(method, key): list(at) for method, key, at in kept.select("method", "id", "ratio").iter_rows()}

    def shown(method: str, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "kept": ratios.get((method, row["id"]), []), **shortened(texts[row["id"]])}

    return [
        {"method": method, **{part: [shown(method, row) for row in rows] for part, rows in of_method.items()}}
        for method, of_method in parts.items()
    ]


def _parts(scored: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return id and score of the best, the middle and the worst of some examples, those with equal scores by id."""
    ranked = scored.select("id", "score").sort("score", "id", descending=[True, False])
    count = min(SHOWN, -(-ranked.height // 3))
    return {
        "best": ranked.head(count).to_dicts(),
        "middle": ranked.slice((ranked.height - count) // 2, count).to_dicts(),
        "worst": ranked.tail(count).reverse().to_dicts(),
    }


def shortened(example: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the middle out of long conversations and long messages: a question often stands at the end of its text."""

    def shorten(text: str) -> str:
        if len(text) <= 2 * CHARACTERS:
            return text
        return f"{text[:CHARACTERS]} […] {text[-CHARACTERS:]}"

    turns = example["messages"]
    left_out = max(0, len(turns) - 2 * MESSAGES)
    ends = [*turns[:MESSAGES], *turns[MESSAGES + left_out :]]
    messages = [{"role": turn["role"], "content": shorten(turn["content"])} for turn in ends]
    return {**example, "messages": messages, "left_out": left_out}
