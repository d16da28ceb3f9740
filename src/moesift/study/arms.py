"""What the study trains on: a method's best examples, or a baseline that shows what those are worth."""

import random
from collections.abc import Mapping

import polars as pl

from moesift.data.corruption import CLEAN
from moesift.errors import UserError
from moesift.scoring.selection import drawn, quotas, ranked


def chosen(
    arm: str,
    scores: Mapping[str, pl.DataFrame],
    pool: pl.DataFrame,
    ratio: float,
    seed: int,
    rejecting: tuple[str, float],
) -> list[str]:
    """Return the ids of `ratio` of the pool, the best first where there is a best.

    Args:
        arm: a method, whose best examples are taken; `filtered`, at random of what `rejecting` leaves; `bottom`, the
            lowest of `router`; `mid_nll`, those nearest to the median loss; `random`; `balanced`, at random with as
            many of each source; `oracle`, at random of the clean ones; `full`, everything.
        scores: of each method, columns id and score (null where it has none).
        pool: columns id, source, corruption.
        ratio: of the whole pool, in (0, 1].
        seed: of what is drawn at random.
        rejecting: a method, and the share of each source that is rejected, the lowest by it first.

    Raises:
        UserError: there are fewer such examples than asked for (an oracle takes what there is), or `scores` lacks the
            method that the arm reads.
    """
    count = max(1, round(ratio * pool.height))
    rng = random.Random(f"{arm}-{seed}")
    match arm:
        case "full":
            return pool["id"].to_list()
        case "random":
            return rng.sample(pool["id"].to_list(), count)
        case "oracle":
            clean = pool.filter(pl.col("corruption") == CLEAN)["id"].to_list()
            return rng.sample(clean, min(count, len(clean)))
        case "balanced":
            sizes = dict(pool["source"].value_counts().sort("source").iter_rows())
            wanted = quotas(sizes, sizes, count, "equal")
            of_source = {source: pool.filter(pl.col("source") == source)["id"].to_list() for source in wanted}
            return [id for source, number in wanted.items() for id in rng.sample(of_source[source], number)]
        case "filtered":
            own = _needed(scores, rejecting[0], arm).select("id", "score").join(pool.select("id", "source"), on="id")
            sizes = dict(pool["source"].value_counts().iter_rows())
            sifted = drawn(ranked(own.with_columns(reason=pl.lit(None, pl.String))), sizes, rejecting[1], seed)
            ranking = sifted.ranking["id"].to_list()
        case "bottom":
            ranking = _ranking(_needed(scores, "router", arm), -pl.col("score"))
        case "mid_nll":
            ranking = _ranking(_needed(scores, "nll", arm), -(pl.col("score") - pl.col("score").median()).abs())
        case _:
            ranking = _ranking(_needed(scores, arm, arm), pl.col("score"))
    if len(ranking) < count:
        raise UserError(f"study.arms: {arm} has scores of {len(ranking)} examples, and {count} are to be kept")
    return ranking[:count]


def _needed(scores: Mapping[str, pl.DataFrame], method: str, arm: str) -> pl.DataFrame:
    if method not in scores:
        given = ", ".join(sorted(scores))
        raise UserError(f"study.arms: {arm} needs the scores of {method}, but there are those of {given}")
    return scores[method]


def _ranking(scores: pl.DataFrame, by: pl.Expr) -> list[str]:
    scored = scores.filter(pl.col("score").is_not_null()).select("id", by=by)
    return scored.sort("by", "id", descending=[True, False])["id"].to_list()
