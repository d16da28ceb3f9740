"""Ranking and keeping: pure functions of frames."""

import polars as pl

from moesift.errors import UserError


def merged(shards: list[pl.DataFrame], ids: pl.Series) -> pl.DataFrame:
    """Put the scores of shards together, best first, and check that each example of the pool came back once.

    Examples of equal score are ordered by id, so that a ranking never depends on the order of the pool; those without
    a score come last.

    Args:
        shards: frames with the columns id and score, and any more.
        ids: the ids of the pool.

    Raises:
        UserError: ids are missing, repeated or unknown; the message names the first few.
    """
    scores = pl.concat(shards)
    repeated = scores.filter(pl.col("id").is_duplicated())["id"].unique().sort()
    expected = ids.to_frame("id")
    missing = expected.join(scores, on="id", how="anti")["id"]
    unknown = scores.join(expected, on="id", how="anti")["id"]
    for problem, found in (("missing", missing), ("scored more than once", repeated), ("not in the pool", unknown)):
        if len(found):
            raise UserError(
                f"the shards do not make the pool: {len(found)} ids are {problem}: {found.head(5).to_list()}"
            )
    return scores.sort("score", "id", descending=[True, False], nulls_last=True)


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
