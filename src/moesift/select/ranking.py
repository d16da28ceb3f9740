"""From scores to a selection: pure functions of frames, each of which says why it leaves an example out.

An id may be of any type that has an order. Numbers take a third of the memory of strings: see `ids.py`.
"""

import math
import random
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from moesift.errors import UserError
from moesift.select.ids import digits

Quota = Literal["proportional", "equal"] | Mapping[str, float]


class Ranking(NamedTuple):
    """What is left of the pool, best first (columns id, source, score), and what is not (columns id, score, reason)."""

    left: pl.DataFrame
    dropped: pl.DataFrame


def ranked(scores: pl.DataFrame) -> Ranking:
    """Rank the examples that have a score; equal scores are ordered by id, so that the pool's order never matters.

    Args:
        scores: columns id, source, score, reason (why there is no score). What is in order already, as `score` writes
            it, is not sorted again. With a column turn, of targeted methods, that is the order.
    """
    if "turn" in scores.columns:
        scores = scores.sort("turn", nulls_last=True)
    scored = scores.filter(pl.col("score").is_not_null()).select("id", "source", "score")
    unscored = scores.filter(pl.col("score").is_null()).select("id", "score", pl.col("reason").cast(pl.String))
    id, score = pl.col("id"), pl.col("score")
    follows = (score < score.shift()) | ((score == score.shift()) & (id > id.shift()))
    if "turn" not in scores.columns and not scored.select(follows.slice(1).all()).item():
        scored = scored.sort("score", "id", descending=[True, False])
    return Ranking(scored, unscored.sort("id"))


def without(ranking: Ranking, reasons: pl.DataFrame) -> Ranking:
    """Drop the examples of a frame with the columns id and reason; of several rows of an example the first counts."""
    first = reasons.unique("id", keep="first", maintain_order=True).select("id", "reason")
    hit = ranking.left.join(first, on="id", how="inner", maintain_order="left")
    return _drop(ranking, hit)


def drop_top(ranking: Ranking, share: float) -> Ranking:
    """Drop the top of the ranking: the best `share` of it, rounded down."""
    # 0.29 * 100 is a little below 29 as a floating-point number, and means 29.
    count = math.floor(round(share * ranking.left.height, 6))
    reason = pl.lit(f"in the top {share:.4g} of the scores")
    top = ranking.left.head(count).select("id", "score", reason=reason)
    return Ranking(ranking.left[count:], pl.concat([ranking.dropped, top]))


def deduplicate(
    ranking: Ranking, pairs: pl.DataFrame | None, instructions: pl.DataFrame | None = None, most: int = 1
) -> Ranking:
    """Walk down the ranking and drop each example that repeats one kept above it, or whose instruction has enough kept.

    Both in one walk: so no example goes for the sake of one that is not kept, and of an instruction the best are kept
    that differ.

    Args:
        pairs: columns id, other, similarity, measure (its name): near-duplicates, each pair once by a measure.
        instructions: columns id, instruction, of the whole pool; None where any number is kept.
        most: examples of an instruction that are kept.
    """
    size = ranking.left.height
    # The number of the instruction at each place, and whether it has more examples than are kept.
    asked, has_many = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=bool)
    if instructions is not None:
        own = ranking.left.select("id").join(instructions, on="id", how="left", maintain_order="left")
        asked = own["instruction"].rank("dense").to_numpy().astype(np.int64) - 1
        has_many = np.bincount(asked)[asked] > most
    kept = Counter[int]()  # examples of each instruction
    near = _places_of(ranking, pairs)
    below = near["below"].to_numpy()
    first = np.searchsorted(near["above"].to_numpy(), np.arange(size + 1))  # rows of `near` by the place above
    repeats_by = np.full(size, -1)  # the row of `near` whose place above is kept
    is_extra = np.zeros(size, dtype=bool)
    for place in np.flatnonzero(has_many | (np.diff(first) > 0)).tolist():  # no other drops any, or is dropped
        if repeats_by[place] >= 0:
            continue
        if has_many[place]:
            if kept[asked[place]] == most:
                is_extra[place] = True
                continue
            kept[asked[place]] += 1
        for row in range(first[place], first[place + 1]):
            if repeats_by[below[row]] < 0:
                repeats_by[below[row]] = row
    pair = near[repeats_by[repeats_by >= 0]]
    of = digits(ranking.left["id"][pair["above"]])
    similarity = pair["similarity"].round_sig_figs(4)
    repeats = pair.select(place="below", reason=pl.format("near-duplicate of {}: {} {}", of, "measure", similarity))
    extra = pl.DataFrame({"place": np.flatnonzero(is_extra)}, {"place": pl.Int64})
    extra = extra.with_columns(reason=pl.lit(f"beyond the best {most} of its instruction"))
    reasons = pl.concat([repeats, extra]).sort("place")
    hit = ranking.left[reasons["place"]].select("id", "score").with_columns(reasons["reason"])
    return Ranking(ranking.left.filter((repeats_by < 0) & ~is_extra), pl.concat([ranking.dropped, hit]))


def _places_of(ranking: Ranking, pairs: pl.DataFrame | None) -> pl.DataFrame:
    """Return the places in the ranking of pairs that are both in it: columns above, below, similarity, measure."""
    if pairs is None:
        schema = {"above": pl.Int64, "below": pl.Int64, "similarity": pl.Float64, "measure": pl.String}
        return pl.DataFrame(schema=schema)
    places = ranking.left.select("id", place=pl.int_range(pl.len()))
    found = pairs.join(places, on="id").join(places.select(other="id", at="place"), on="other")
    above, below = pl.min_horizontal("place", "at"), pl.max_horizontal("place", "at")
    # Of two measures of a pair the first one counts.
    ends = found.select(above.alias("above"), below.alias("below"), "similarity", "measure")
    return ends.sort("above", "below", "measure")


def mark_lowest(ranking: Ranking, pool: Mapping[str, int], share: float) -> Ranking:
    """Mark the lowest `share` of each source, rounded down, in a column `lowest`; a missing score is lower than any.

    It is done while nothing else is dropped, so that which are the lowest depends on the scores alone.

    Args:
        pool: examples of each source in the pool.
        share: in (0, 1).
    """
    lowest = np.zeros(ranking.left.height, dtype=bool)
    for source, size in pool.items():
        places = (ranking.left["source"] == source).arg_true().to_numpy()  # best first
        lowest[places[size - math.floor(round(share * size, 6)) :]] = True
    return ranking._replace(left=ranking.left.with_columns(lowest=lowest))


def drop_lowest(ranking: Ranking, share: float) -> Ranking:
    """Drop what `mark_lowest` has marked with this share."""
    reason = pl.lit(f"in the lowest {share:.4g} of its source")
    dropped = ranking.left.filter("lowest").select("id", "score", reason=reason)
    return Ranking(ranking.left.filter(~pl.col("lowest")).drop("lowest"), pl.concat([ranking.dropped, dropped]))


def shuffled(ranking: Ranking, seed: int) -> Ranking:
    """Put what is left in an order drawn at random, the same whatever order the examples came in.

    A score that finds what is wrong need not rank what is right: its best are alike, and of few sources.
    """
    order = array("I", range(ranking.left.height))  # a list of as many Python numbers would be ten times as large
    random.Random(seed).shuffle(order)
    by_id = ranking.left["id"].arg_sort().to_numpy()
    return ranking._replace(left=ranking.left[by_id[np.frombuffer(order, dtype=np.uintc)]])


def require(ranking: Ranking, count: int) -> None:
    """Check that enough examples are left.

    Raises:
        UserError: fewer than `count` are; the message says how many were dropped for which reason.
    """
    if ranking.left.height < count:
        # What a reason names, an example or a question, does not tell it from others of its kind.
        kinds = ranking.dropped["reason"].str.replace(r"\b(near-duplicate of|run of words with) .*", "$1 …")
        why = "; ".join(f"{number} x {kind}" for kind, number in kinds.value_counts(sort=True).iter_rows())
        raise UserError(
            f"select: {count} examples are to be kept, but only {ranking.left.height} are left ({why or 'the pool'})"
        )


def count_within(ranking: Ranking, tokens: pl.DataFrame, budget: float) -> int:
    """Return how many of the best have no more response tokens together than the budget.

    Args:
        tokens: columns id, n_tokens, of the whole pool.
        budget: response tokens, or, below 1, a share of the pool's.

    Raises:
        UserError: what is left has fewer tokens than the budget, or the best example alone has more.
    """
    limit = budget if budget >= 1 else round(budget * int(tokens["n_tokens"].sum()), 6)  # 0.29 * 100 is below 29
    each = ranking.left.select("id").join(tokens, on="id", how="left", maintain_order="left")["n_tokens"]
    count = int((each.cum_sum() <= limit).sum())
    if not count or (count == len(each) and each.sum() < limit):
        raise UserError(
            f"select.tokens: {limit:,.0f} response tokens are to be kept, of {each.sum():,} that are left"
            + (f", and the best example alone has {each[0]:,}" if len(each) and not count else "")
        )
    return count


class Spread(NamedTuple):
    """How examples are kept that differ: candidates for each that is kept, best first, and what picks among them."""

    candidates: float
    pick: Callable[[pl.Series, int], list[int]]  # n of some ids, as indices


def keep(
    ranking: Ranking, count: int, quotas: Mapping[str, int] | None = None, spread: Spread | None = None
) -> Ranking:
    """Return `count` examples with their ranks from 1 (columns id, rank, score), and everything that was left out.

    Examples that rank below the last kept one get no reason; those above it that were left out do.

    Args:
        quotas: how many to keep of each source; None takes the best of all.
        spread: for diversity; None takes the best. With quotas, source by source.

    Raises:
        UserError: fewer examples are left than are to be kept.
    """
    require(ranking, count)
    placed = ranking.left.with_row_index("place")
    parts: list[tuple[str | None, int]] = [(None, count)]
    if quotas is not None:
        parts = [(source, quotas.get(source, 0)) for source in sorted(placed["source"].cast(pl.String).unique())]
    kept, left_out = [], []
    for source, number in parts:
        of_source = placed if source is None else placed.filter(pl.col("source") == source)
        candidates = of_source.head(number if spread is None else math.ceil(spread.candidates * number))
        chosen = range(number) if spread is None or not number else spread.pick(candidates["id"], number)
        picked = candidates[sorted(chosen)]
        kept.append(picked)
        left_out.append((candidates.join(picked, on="id", how="anti"), "too near to what is kept"))
        if source is not None:
            left_out.append((of_source[candidates.height :], f"the quota of {source}, {number}, is full"))
    selection = pl.concat(kept).sort("place")
    last = selection["place"].max()
    reasons = [rows.filter(pl.col("place") < last).with_columns(reason=pl.lit(reason)) for rows, reason in left_out]
    outranking = pl.concat(reasons).sort("place")
    return Ranking(
        selection.select("id", pl.int_range(1, count + 1).alias("rank"), "score"),
        pl.concat([ranking.dropped, outranking.select("id", "score", "reason")]),
    )


def ties(ranking: Ranking, best: pl.DataFrame) -> int:
    """Return how many examples have the score of the last one of the `best` of a ranking, and are not among them."""
    is_last = pl.col("score") == best["score"].min()
    return ranking.left.filter(is_last).height - best.filter(is_last).height


def quotas(left: Mapping[str, int], pool: Mapping[str, int], count: int, quota: Quota) -> dict[str, int]:
    """Return how many examples of each source make a selection of `count`.

    The shares are of the largest remainder, so that the numbers sum to `count`. A source with too few examples left
    gives all of them, and what it lacks is divided among the others by their shares.

    Args:
        left: examples of each source that may still be selected.
        pool: examples of each source in the pool.
        quota: `proportional` to the pool, `equal`, or the share of each source.

    Raises:
        UserError: the sources with a share have fewer examples left than `count`.
    """
    if quota == "proportional":
        shares = {source: float(number) for source, number in pool.items()}
    elif quota == "equal":
        shares = dict.fromkeys(pool, 1.0)
    else:
        shares = {source: share for source, share in quota.items() if share > 0}
    if sum(left.get(source, 0) for source in shares) < count:
        raise UserError(f"select.quota: {count} examples are to be kept, but {', '.join(shares)} have fewer left")
    given: dict[str, int] = {}
    while True:
        allotted = _largest_remainder(count - sum(given.values()), shares)
        short = {source: left.get(source, 0) for source, number in allotted.items() if number > left.get(source, 0)}
        if not short:
            return given | allotted
        given |= short
        shares = {source: share for source, share in shares.items() if source not in short}


def _largest_remainder(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide `count` by shares: rounded down, then one more for those with the largest remainders, by name if equal."""
    total = sum(shares.values())
    exact = {source: count * share / total for source, share in shares.items()}
    whole = {source: math.floor(number) for source, number in exact.items()}
    missing = count - sum(whole.values())
    for source in sorted(exact, key=lambda source: (whole[source] - exact[source], source))[:missing]:
        whole[source] += 1
    return whole


def _drop(ranking: Ranking, hit: pl.DataFrame) -> Ranking:
    left = ranking.left.filter(~pl.col("id").is_in(hit["id"].implode()))
    return Ranking(left, pl.concat([ranking.dropped, hit.select("id", "score", "reason")]))
