"""Ranking and keeping: pure functions of frames."""

import polars as pl

from moesift.errors import UserError


def keep(scores: pl.DataFrame, ratio: float) -> pl.DataFrame:
    """Return the best `ratio` of the pool with its ranks from 1, at least one example: columns id, rank, score.

    The ratio is of the whole pool, so that every method keeps equally many; an example without a score is never kept.

    Raises:
        UserError: fewer examples have a score than are to be kept.
    """
    count = max(1, round(ratio * scores.height))
    scored = scores.filter(pl.col("score").is_not_null())
    if scored.height < count:
        raise UserError(f"select.ratio: {ratio:g} of {scores.height} is {count}, but only {scored.height} have a score")
    ranked = scored.sort("score", "id", descending=[True, False]).head(count)
    return ranked.select("id", pl.int_range(1, count + 1).alias("rank"), "score")
