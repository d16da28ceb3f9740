"""How well a score finds labelled corruptions.

Every function here that takes a frame takes that of one method and one seed, with the columns id, source, kind (`clean`
or a corruption's), control (`easy`, `hard` or null; of clean examples only), severity (null where there is none),
n_tokens and score. The higher a score, the better the example should be. An example whose score is null, or not a
finite number, has none: it takes no part, and nothing is put in its place. What cannot be computed is null, never nan.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from scipy.stats import kruskal, spearmanr

from moesift.data.corruption import CLEAN
from moesift.report.metrics import ALL_KINDS, auroc

EASY = "easy"
HARD = "hard"


def areas(frame: pl.DataFrame) -> pl.DataFrame:
    """Return how well the score tells the clean examples from each kind of corruption, and from all kinds at once.

    Returns:
        Columns kind, auroc (0.5 is no signal), auprc (average precision of finding the corrupted examples among the two
        from the lowest score up), chance (share of corrupted examples among the two, about what auprc is of scores
        that say nothing), clean and corrupted (numbers of examples with a score), without and clean_without (numbers of
        corrupted and of clean examples without one).
    """
    rows = []
    for kind, clean, corrupted in _by_kind(frame):
        with_score, worse = _scored(clean)["score"].to_numpy(), _scored(corrupted)["score"].to_numpy()
        area = auroc(with_score, worse)
        rows.append(
            (
                kind,
                area.value if area else None,
                _average_precision(with_score, worse) if area else None,
                len(worse) / (len(with_score) + len(worse)) if area else None,
                len(with_score),
                len(worse),
                corrupted.height - len(worse),
                clean.height - len(with_score),
            )
        )
    schema = {
        "kind": pl.String,
        "auroc": pl.Float64,
        "auprc": pl.Float64,
        "chance": pl.Float64,
        "clean": pl.Int64,
        "corrupted": pl.Int64,
        "without": pl.Int64,
        "clean_without": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def stratified_area(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return the area under the ROC curve over the pairs of a clean and a corrupted example of the same stratum.

    The mean of the strata's areas, each weighted by its number of pairs: what a score owes to telling the sources, or
    the lengths, apart is not in it. A stratum without clean or without corrupted examples has no pair.

    Args:
        by: columns that make a stratum, such as the source or a length bin. An example that has null in one takes no
            part.

    Returns:
        Columns kind (all kinds at once comes last), auroc, compared (share of the corrupted examples with a score that
        are in a pair), pairs.
    """
    rows = []
    for kind, *classes in _by_kind(frame):
        clean, corrupted = map(_scored, classes)
        strata = dict(iter(clean.drop_nulls(by).group_by(by)))
        ordered, pairs, compared = 0.0, 0, 0
        for stratum, worse in corrupted.group_by(by, maintain_order=True):
            if stratum in strata:
                better = strata[stratum]
                area = auroc(better["score"].to_numpy(), worse["score"].to_numpy())
                assert area is not None  # neither group is empty
                ordered += area.value * better.height * worse.height
                pairs += better.height * worse.height
                compared += worse.height
        area = ordered / pairs if pairs else None
        rows.append((kind, area, compared / corrupted.height if corrupted.height else None, pairs))
    schema = {"kind": pl.String, "auroc": pl.Float64, "compared": pl.Float64, "pairs": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def length_bins(n_tokens: pl.Series, bins: int) -> pl.Series:
    """Return the quantile bin of each length, codes from 0, the shortest.

    Equal lengths share a bin, so that bins are of different sizes where there are many, and fewer where there are very
    many.

    Args:
        n_tokens: whole numbers, none of them null.
        bins: how many at most.
    """
    if n_tokens.is_empty():
        return pl.Series(n_tokens.name, [], dtype=pl.Int64)
    lengths = n_tokens.to_numpy()
    # Edges that are lengths themselves, as bins between two that occur could be empty; each is the last of its bin.
    edges = np.unique(np.quantile(lengths, np.arange(1, bins) / bins, method="inverted_cdf"))
    return pl.Series(n_tokens.name, np.searchsorted(edges, lengths, "left"), dtype=pl.Int64)


def precision_at(frame: pl.DataFrame, shares: Sequence[float]) -> pl.DataFrame:
    """Return what is clean and what corrupted in the best and in the lowest share of the scores.

    Equal scores are ordered by id, and a share is rounded to a number of examples, at least one, as `select` does it;
    the share is of the examples with a score.

    Args:
        shares: each in (0, 1].

    Returns:
        Columns share, examples (their number), kept_clean and kept_corrupted (shares among the best), and
        rejected_corrupted (share of corrupted examples among the lowest).
    """
    ranking = _scored(frame).sort("score", "id", descending=[True, False])
    corrupted = (ranking["kind"] != CLEAN).to_numpy()
    rows: list[tuple[float | None, ...]] = []
    for share in shares:
        if not len(corrupted):
            rows.append((share, 0, None, None, None))
            continue
        count = max(1, round(share * len(corrupted)))
        kept, rejected = corrupted[:count], corrupted[-count:]
        rows.append((share, count, 1 - kept.mean(), kept.mean(), rejected.mean()))
    schema = {
        "share": pl.Float64,
        "examples": pl.Int64,
        "kept_clean": pl.Float64,
        "kept_corrupted": pl.Float64,
        "rejected_corrupted": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def severity_correlation(frame: pl.DataFrame) -> pl.DataFrame:
    """Return how the score of each kind of corruption goes with its severity: Spearman's rho, below 0 if it falls.

    Returns:
        Columns kind, rho (null where there are fewer than two severities or two scores to compare), examples (that have
        a severity and a score).
    """
    graded = _scored(frame).filter(pl.col("severity").is_not_null())
    rows = []
    for kind in _kinds(frame):
        of_kind = graded.filter(pl.col("kind") == kind)
        rows.append((kind, _spearman(of_kind["severity"], of_kind["score"]), of_kind.height))
    return pl.DataFrame(rows, schema={"kind": pl.String, "rho": pl.Float64, "examples": pl.Int64}, orient="row")


def length_correlation(frame: pl.DataFrame) -> dict[str, float | None]:
    """Return Spearman's rho of the response's length and the score over `clean` examples and over `all` of them.

    None where all lengths or all scores are equal.
    """
    scored = _scored(frame)
    parts = {"clean": scored.filter(pl.col("kind") == CLEAN), "all": scored}
    return {name: _spearman(part["n_tokens"], part["score"]) for name, part in parts.items()}


def source_variance(frame: pl.DataFrame) -> float | None:
    """Return the share of the variance of the scores' ranks that the source explains, over clean examples.

    Eta squared, the sum of squares between sources over the total. Of ranks, as the methods' scores have scales of
    their own and heavy tails, so that a few examples would decide it. This is the H of Kruskal and Wallis (1952), with
    their correction for ties, over n - 1. Where the source says nothing, (sources - 1) / (n - 1) is expected.

    Returns:
        In [0, 1]; None where there are fewer than two sources or all scores are equal.
    """
    clean = _scored(frame).filter(pl.col("kind") == CLEAN)
    if clean["source"].n_unique() < 2 or clean["score"].n_unique() < 2:
        return None
    groups = [group["score"].to_numpy() for _, group in clean.group_by("source", maintain_order=True)]
    return float(kruskal(*groups).statistic) / (clean.height - 1)


def false_rejection(frame: pl.DataFrame, recalls: Sequence[float]) -> pl.DataFrame:
    """Return the share of clean examples that is rejected when a share of the corrupted examples, the recall, is.

    Rejected is each example whose score is at most the threshold, the lowest score of a corrupted example that reaches
    the recall. Whatever ties with the threshold is rejected with it, so that more than the recall may be reached.

    Args:
        recalls: each in (0, 1].

    Returns:
        Columns recall, threshold, reached (share of the corrupted examples that is rejected), clean, hard and easy
        (shares of all clean examples and of the two controls that are rejected); null where there are none.

    Raises:
        ValueError: a recall is not in (0, 1].
    """
    if not all(0 < recall <= 1 for recall in recalls):
        raise ValueError(f"recalls are in (0, 1], not {list(recalls)}")
    scored = _scored(frame)
    corrupted = scored.filter(pl.col("kind") != CLEAN)["score"].sort()
    clean = scored.filter(pl.col("kind") == CLEAN)
    compared = [corrupted, clean["score"], *(clean.filter(pl.col("control") == c)["score"] for c in (HARD, EASY))]
    rows = []
    for recall in recalls:
        # 0.07 * 100 is a little above 7 as a floating-point number, and means 7.
        needed = max(1, math.ceil(round(recall * len(corrupted), 6)))
        threshold = corrupted[needed - 1] if len(corrupted) else None
        rejected = [None if threshold is None else (scores <= threshold).mean() for scores in compared]
        rows.append((recall, threshold, *rejected))
    names = ["recall", "threshold", "reached", "clean", "hard", "easy"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Float64), orient="row")


def _scored(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the examples that have a score, as a floating-point number."""
    return frame.with_columns(pl.col("score").cast(pl.Float64)).filter(pl.col("score").is_finite())


def _kinds(frame: pl.DataFrame) -> list[str]:
    return frame.filter(pl.col("kind") != CLEAN)["kind"].unique().sort().to_list()


def _by_kind(frame: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Yield each kind of corruption, and all of them last, with the clean examples and those of the kind."""
    clean, corrupted = frame.filter(pl.col("kind") == CLEAN), frame.filter(pl.col("kind") != CLEAN)
    for kind in _kinds(frame):
        yield kind, clean, corrupted.filter(pl.col("kind") == kind)
    yield ALL_KINDS, clean, corrupted


def _average_precision(clean: np.ndarray, corrupted: np.ndarray) -> float:
    """Return the mean over the corrupted examples of the precision of rejecting all that score no higher than it."""
    found, mistaken = (np.searchsorted(np.sort(scores), corrupted, "right") for scores in (corrupted, clean))  # (n,)
    return float((found / (found + mistaken)).mean())


def _spearman(one: pl.Series, other: pl.Series) -> float | None:
    """Return Spearman's rank correlation, None where one of the two does not vary."""
    if one.n_unique() < 2 or other.n_unique() < 2:
        return None
    return float(spearmanr(one.to_numpy(), other.to_numpy()).statistic)
