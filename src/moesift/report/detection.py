"""How well the scores of a corrupted pool separate clean from corrupted examples: the area under the ROC curve.

A kind of corruption is compared only with the clean examples that it could have been made of, so that nothing but the
corruption separates the two. An example without a score is never selected: it counts as lower than all that have one.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score

from moesift.data.corruption import CLEAN, applicable_kinds

ALL = "all"  # kinds together
ALL_PAIRS, SAME_STRATUM = "pool", "source and length"
BINS = 5  # of response length
NORMAL_95 = 1.959964  # two-sided 95% quantile of the standard normal distribution

AUROC = {
    "method": pl.String,
    "seed": pl.Int64,
    "kind": pl.String,
    "within": pl.String,  # the pairs that are compared: ALL_PAIRS or SAME_STRATUM
    "auroc": pl.Float64,  # null where there is no pair
    "low": pl.Float64,  # 95% interval over examples; of seeds it says nothing
    "high": pl.Float64,
    "average_precision": pl.Float64,  # of finding the corrupted examples, from the lowest score up
    "n_clean": pl.Int64,
    "n_corrupted": pl.Int64,
}


def aurocs(scores: Mapping[Any, pl.DataFrame], pool: pl.DataFrame, n_tokens: pl.DataFrame) -> pl.DataFrame:
    """Return how well each score separates each kind of corruption, and all kinds, from clean examples: columns AUROC.

    Scores have the columns id and score, by method and seed; `n_tokens` are those of the responses of all the pool.
    """
    kinds: list[Any] = pool.filter(pl.col("corruption") != CLEAN)["corruption"].unique().sort().to_list()
    lengths = pool.select("id").join(n_tokens, on="id", how="left", validate="1:1", maintain_order="left")["n_tokens"]
    applicable = pl.Series("applicable", applicable_kinds(pool, kinds), dtype=pl.List(pl.String))
    corrupted = pl.col("corruption") != CLEAN
    examples = pool.select("id", "source", "corruption", applicable, corrupted=corrupted, bin=length_bins(lengths))
    rows = []
    for (run, frame), kind in itertools.product(scores.items(), [*kinds, ALL] if kinds else []):
        could_be = pl.col("applicable").list.len() > 0 if kind == ALL else pl.col("applicable").list.contains(kind)
        is_kind = corrupted if kind == ALL else pl.col("corruption") == kind
        compared = examples.filter(is_kind | (~corrupted & could_be))
        compared = compared.join(frame.select("id", "score"), on="id", how="left", validate="1:1")
        compared = compared.with_columns(pl.col("score").fill_null(float("-inf")))
        labels, ranks = compared["corrupted"].to_numpy(), compared["score"].rank("dense").to_numpy()
        counts = (int((~labels).sum()), int(labels.sum()))
        # From ranks, as scikit-learn takes no infinite score.
        precision = float(average_precision_score(labels, -ranks.astype(float))) if all(counts) else None
        rows.append((*run, kind, ALL_PAIRS, *area(compared, []), precision, *counts))
        rows.append((*run, kind, SAME_STRATUM, *area(compared, ["source", "bin"]), None, *counts))
    return pl.DataFrame(rows, schema=AUROC, orient="row")


def area(frame: pl.DataFrame, strata: Sequence[str]) -> tuple[float | None, float | None, float | None]:
    """Return the AUROC and its 95% interval: the share of pairs in which the clean example has the higher score.

    Ties count half. It is Mann and Whitney's U over the number of pairs, from ranks; of strata, U and pairs are summed,
    so that only pairs of the same stratum count. The variance of each area is Hanley and McNeil's (1982). The frame has
    the columns corrupted, score and the strata. Without a pair there is no area.
    """
    rank = pl.col("score").rank().over(strata) if strata else pl.col("score").rank()
    clean, corrupted = pl.col("clean"), pl.col("corrupted")
    parts = frame.select(*strata, "corrupted", rank=rank).group_by(strata or pl.lit(0))
    parts = parts.agg(
        clean=(~corrupted).sum(), corrupted=corrupted.sum(), ranks=pl.col("rank").filter(~corrupted).sum()
    )
    parts = parts.filter(clean > 0, corrupted > 0)
    if parts.is_empty():
        return None, None, None
    m, n, ranks = (parts[column].cast(pl.Float64).to_numpy() for column in ("clean", "corrupted", "ranks"))  # (strata,)
    u = ranks - m * (m + 1) / 2
    a = u / (m * n)
    variance = (a * (1 - a) + (m - 1) * (a / (2 - a) - a**2) + (n - 1) * (2 * a**2 / (1 + a) - a**2)) / (m * n)
    pairs = (m * n).sum()
    value, half = float(u.sum() / pairs), float(NORMAL_95 * np.sqrt(((m * n) ** 2 * variance).sum()) / pairs)
    return value, max(0.0, value - half), min(1.0, value + half)


def length_bins(n_tokens: pl.Series) -> pl.Series:
    """Return the fifth of all lengths that each is in, codes from 0, the shortest.

    Equal lengths share a bin, so there are fewer bins where many are equal.
    """
    lengths = n_tokens.to_numpy()
    # Each edge is a length that occurs, the last one of its bin: between two that occur a bin could be empty.
    edges = np.unique(np.quantile(lengths, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    return pl.Series(n_tokens.name, np.searchsorted(edges, lengths, "left"), dtype=pl.Int64)
