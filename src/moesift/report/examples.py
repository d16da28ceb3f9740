"""Examples of the pool as readable text: the best, the middle and the worst of each method's ranking."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from moesift.report.comparison import RANDOM

SHOWN = 5  # from each part of a ranking
CHARACTERS = 300  # from each end of a message
MESSAGES = 2  # from each end of a conversation


def of_rankings(
    scores: pl.DataFrame, selections: pl.DataFrame, pool: pl.DataFrame, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the examples that each method ranks highest, in the middle and lowest, the most extreme first.

    Of a small pool the parts are shorter, so that they do not overlap. A random ranking is left out.

    Args:
        scores: columns method, id, score, of one seed; an example without a score has no place.
        selections: columns method, budget, id, of the same seed: what was kept.
        pool: columns id, source, corruption, messages.
        methods: which, in order.

    Returns:
        A dictionary a method: `method`, and `best`, `middle` and `worst`, lists of examples with id, score, source,
        corruption, kept (the budgets within which it is), messages and left_out (how many messages are not shown).
    """
    parts = []
    for method in methods:
        ranked = scores.filter(method=method).drop_nulls("score").sort("score", "id", descending=[True, False])
        count = min(SHOWN, -(-ranked.height // 3))
        middle = ranked.slice((ranked.height - count) // 2, count)
        named = {"best": ranked.head(count), "middle": middle, "worst": ranked.tail(count).reverse()}
        parts += [frame.select("method", "id", "score", part=pl.lit(part)) for part, frame in named.items()]
    kept = selections.group_by("method", "id").agg(kept="budget")
    shown = pl.concat(parts).filter(pl.col("method") != RANDOM)
    shown = shown.join(pool, on="id", maintain_order="left").join(
        kept, on=["method", "id"], how="left", maintain_order="left"
    )
    shown = shown.select(
        "method", "part", "id", "score", "source", "corruption", pl.col("kept").fill_null([]), "messages"
    )
    return [
        {"method": method}
        | {part: [shortened(row) for row in own.filter(part=part).to_dicts()] for part in ("best", "middle", "worst")}
        for (method,), own in shown.group_by("method", maintain_order=True)
    ]


def shortened(example: Mapping[str, Any]) -> dict[str, Any]:
    """Cut the middle out of long conversations and long messages: a question often stands at the end of its text."""

    def shorten(text: str) -> str:
        return text if len(text) <= 2 * CHARACTERS else f"{text[:CHARACTERS]} […] {text[-CHARACTERS:]}"

    turns = example["messages"]
    left_out = max(0, len(turns) - 2 * MESSAGES)
    ends = [*turns[:MESSAGES], *turns[MESSAGES + left_out :]]
    messages = [{"role": turn["role"], "content": shorten(turn["content"])} for turn in ends]
    return {**example, "messages": messages, "left_out": left_out}
