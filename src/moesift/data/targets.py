"""The queries of a target and its held-out examples, which share nothing with the pool and the evaluation questions."""

import random
from collections.abc import Iterable
from typing import NamedTuple

import polars as pl

from moesift.data.decontamination import Question, contaminated
from moesift.data.pool import INSTRUCTION, content_ids, frequent_reasons, split, texts
from moesift.errors import UserError

WHOLE_QUESTION = 10**9  # words of a run that no question is longer than


class Divided(NamedTuple):
    """The examples of a target: queries, held-out ones, and those that are refused, with reasons."""

    queries: pl.DataFrame
    heldout: pl.DataFrame
    refused: pl.DataFrame


def divided(
    examples: pl.DataFrame,
    instructions: pl.Series,
    questions: Iterable[Question],
    words: int | None,
    queries: int | None,
    heldout: int,
    seed: int,
) -> Divided:
    """Divide the examples of a target by the seed.

    Args:
        examples: columns of the pool, each content once.
        instructions: content ids of the instructions of the pool.
        questions: of the evaluation, none of which may be among them.
        words: of a run that an example may not share with a question; None: it may not contain a whole one.
        queries: how many at most; None takes all that are left.
        heldout: how many.

    Raises:
        UserError: too few examples are left, or none; the message says why the others were refused.
    """
    in_pool = content_ids(examples, INSTRUCTION).is_in(instructions.implode())
    asked = contaminated(examples["id"].to_list(), texts(examples), questions, words or WHOLE_QUESTION)
    asked = asked.unique("id", keep="first", maintain_order=True)
    reason = pl.format("shares a run of words with question {} of {}", "question", "task")
    why = examples.select("id").join(asked.select("id", reason=reason), on="id", how="left", maintain_order="left")
    reasons = pl.select(pl.when(in_pool).then(pl.lit("its instruction is in the pool")).otherwise(why["reason"]))
    refused = examples.select("source", row="source_index").with_columns(reasons.to_series().alias("reason"))
    left = examples.filter(refused["reason"].is_null())
    refused = refused.drop_nulls("reason")
    if left.height <= heldout:
        counts = ", ".join(f"{number} x {kind}" for kind, number in frequent_reasons(refused["reason"].to_list(), 5))
        raise UserError(
            f"of {examples.height} examples {left.height} can be used{f' ({counts})' if counts else ''}, and "
            f"{heldout + 1} are needed: heldout: {heldout}, and at least one query"
        )
    rest, held_out = split(left, heldout, seed) if heldout else (left, left.clear())
    count = min(rest.height, queries or rest.height)
    drawn = sorted(random.Random(f"queries-{seed}").sample(range(rest.height), count))
    return Divided(rest[drawn], held_out, refused)
