"""The queries of a target and its held-out examples, which share nothing with the pool and the evaluation questions."""

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from moesift.data.decontamination import Question, contaminated
from moesift.data.groups import linked_groups
from moesift.data.pool import concatenated, conversations, refused, rejections, split, texts
from moesift.data.turns import Message
from moesift.errors import UserError

IN_POOL = "shares a question or an exchange with the pool"
WHOLE_QUESTION = 10**9  # words of a run that no question is longer than


class Divided(NamedTuple):
    """The examples of a target: queries, held-out ones, and those that are refused, with reasons."""

    queries: pl.DataFrame
    heldout: pl.DataFrame
    refused: pl.DataFrame


def spaced(count: int, most: int | None) -> list[int]:
    """Return `most` places, evenly spaced, of `count` queries; all of them where there are no more."""
    return list(range(count)) if most is None or count <= most else [place * count // most for place in range(most)]


def selected(targets: Iterable[pl.DataFrame], most: int | None, behind: int = 0) -> pl.DataFrame:
    """Return the queries of targets as a selection, one below the other, each once: `most` of a target, see `spaced`.

    Args:
        behind: ranks that are taken.
    """
    rows = concatenated(frame[spaced(frame.height, most)] for frame in targets)
    rows = rows.unique("id", keep="first", maintain_order=True)
    rank, score = pl.int_range(behind + 1, behind + 1 + pl.len()), pl.lit(None, pl.Float64)
    texts = ("source", "source_index", "messages", "finished")
    return rows.select("id", rank.alias("rank"), score.alias("score"), *texts)


def rows_needed(queries: int | None, heldout: int) -> str:
    """Return how an error about too few rows ends."""
    return (
        f"{heldout + (queries or 1):,} are needed (heldout: {heldout}, queries: {queries or 'at least one'}): lower "
        "one of them, or give more rows"
    )


def divided(
    examples: pl.DataFrame,
    pool: Iterable[Sequence[Message]],
    questions: Iterable[Question],
    words: int | None,
    queries: int | None,
    heldout: int,
    seed: int,
    unusable: pl.DataFrame,
    ignore: Sequence[str] = (),
) -> Divided:
    """Divide the examples of a target by the seed.

    Args:
        examples: columns of the pool, each content once.
        pool: the conversations of the pool; no example may be linked to one, see `linked_groups`.
        questions: of the evaluation, none of which may be among them.
        words: of a run that an example may not share with a question; None: it may not contain a whole one.
        queries: how many; None takes all that are left.
        heldout: how many.
        unusable: rows that are no examples, with the columns of `refused`.
        ignore: phrases that no such run touches.

    Raises:
        UserError: fewer examples are left than are asked for; the message says why the others were refused.
    """
    groups = linked_groups(itertools.chain(conversations(examples), pool))
    in_pool = pl.Series(np.isin(groups[: examples.height], groups[examples.height :]))
    found = contaminated(examples["id"].to_list(), texts(examples), questions, words or WHOLE_QUESTION, ignore)
    found = found.unique("id", keep="first", maintain_order=True)
    reason = pl.format("shares a run of words with question {} of {}", "question", "task")
    why = examples.select("id").join(found.select("id", reason=reason), on="id", how="left", maintain_order="left")
    reasons = pl.select(pl.when(in_pool).then(pl.lit(IN_POOL)).otherwise(why["reason"]))
    examples = examples.with_columns(reasons.to_series().alias("reason"))
    left = examples.filter(pl.col("reason").is_null()).drop("reason")
    rejected = pl.concat([unusable, refused(examples.drop_nulls("reason"), pl.col("reason"))])
    least = queries or 1
    rest, held_out, apart = split(left, heldout, seed) if left.height >= heldout + least else (left, left[:0], rejected)
    if held_out.height < heldout or rest.height < least:
        count, usable = examples.height + unusable.height, held_out.height + rest.height
        message = f"of {count} rows {usable} can be used, and {rows_needed(queries, heldout)}"
        raise UserError("\n  ".join([message, *rejections(rejected["reason"])]))
    drawn = sorted(random.Random(f"queries-{seed}").sample(range(rest.height), queries or rest.height))
    return Divided(rest[drawn], held_out, pl.concat([rejected, apart]))
