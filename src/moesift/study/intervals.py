"""How sure a number is: intervals over seeds and over examples, and tests of what could be chance."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


class Interval(NamedTuple):
    """A number and the ends of its interval, None where that cannot be estimated."""

    value: float
    low: float | None
    high: float | None


def t_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Return the mean with Student's interval, mean -+ t(n - 1) s / sqrt(n); one value has none.

    Of a claim that is paired over seeds the values are the differences, one a seed.

    Args:
        values: (n,), independent of each other.
        level: chance that the interval covers the true mean of normally distributed values, in (0, 1).

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean needs finite numbers, not {values.tolist()}")
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, None, None)
    half = float(stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def percentile_interval(value: float, resampled: np.ndarray, level: float = 0.95) -> Interval:
    """Return a statistic with the percentile interval of its bootstrap (Efron and Tibshirani 1993, section 13.3).

    Args:
        value: the statistic of the sample itself.
        resampled: the statistic of each resample, (R,).
        level: share of the resamples between the two ends, in (0, 1).
    """
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def stratified_resamples(strata: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield bootstrap resamples that draw each example, with replacement, from its own stratum.

    Whatever is computed of the same resample is paired. `scipy.stats.bootstrap` has pairs, but no strata: it draws from
    all examples alike, so that the size of each source and the share of corruptions, which the study fixes, would vary.

    Args:
        strata: codes, (N,). The one example of a stratum is drawn every time, so that it adds nothing to the variance.
        resamples: how many to draw.
        seed: the same seed gives the same resamples.

    Yields:
        Indices of the drawn examples, (N,); the one at position i is of the stratum of example i.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(strata, kind="stable")
    ordered = strata[order]
    first = np.searchsorted(ordered, strata, "left")  # (N,) where the stratum of each example begins in `order`
    size = np.searchsorted(ordered, strata, "right") - first
    for _ in range(resamples):
        yield order[first + rng.integers(size)]


def bootstrap_areas(
    scores: np.ndarray,
    corrupted: np.ndarray,
    strata: np.ndarray,
    contrasts: Sequence[Sequence[float]],
    resamples: int,
    seed: int,
    level: float = 0.95,
) -> list[Interval]:
    """Return intervals of areas under the ROC curve and of their differences, over the sampling of the examples.

    The bootstrap is paired, every score is of the same resampled examples, and stratified. Its interval says what
    another draw of examples could give, and nothing of another seed of the warm-up; for that there is `t_interval`.

    Args:
        scores: M scores of the same N examples, (M, N); clean examples should have the higher ones.
        corrupted: which examples are, (N,) bool.
        strata: codes, (N,), such as those of the sources; clean and corrupted examples are resampled apart in each.
        contrasts: K weightings of the M areas: of two scores [1, 0] is the first one's area and [1, -1] the difference
            to the second; the mean over several seeds' scores is a weighting just so.
        resamples: how many to draw.
        seed: the same seed gives the same intervals.
        level: share of the resamples in an interval.

    Returns:
        The interval of each contrast, K.

    Raises:
        ValueError: a class is empty, or an example has a score that is no number.
    """
    codes = _codes(scores, corrupted)  # M x (N,)
    weights = np.asarray(contrasts, dtype=np.float64)  # (K, M)

    def contrasted(drawn: np.ndarray) -> np.ndarray:
        return weights @ [_area(code[drawn], corrupted) for code in codes]  # (K,)

    value = contrasted(np.arange(len(corrupted)))
    # An example is drawn from its own class, so its place in a resample is of its class, and no class is ever empty.
    drawn = stratified_resamples(_crossed(strata, corrupted), resamples, seed)
    found = np.stack([contrasted(each) for each in drawn], axis=1)  # (K, R)
    return [percentile_interval(*pair, level) for pair in zip(value, found, strict=True)]


def paired_ratios(
    differences: np.ndarray, sizes: np.ndarray, strata: np.ndarray, resamples: int, seed: int, level: float = 0.95
) -> list[Interval]:
    """Return intervals of sums of paired differences over the sum of sizes, over the sampling of the questions.

    With sizes of 1 the ratio is the mean difference between two models that were asked the same questions; with the
    tokens of examples as sizes and differences of their losses it is a difference in nats per token.

    Args:
        differences: of M pairs, on the same N questions, (M, N).
        sizes: (N,).
        strata: codes, (N,), such as those of the tasks, whose numbers of questions stay.
        resamples: how many to draw.
        seed: the same seed gives the same intervals.
        level: share of the resamples in an interval.

    Returns:
        The interval of each pair, M.

    Raises:
        ValueError: there are no questions, or a difference is no number.
    """
    if not len(sizes) or np.isnan(differences).any():
        raise ValueError("a difference needs questions, and a number of each")
    value = differences.sum(axis=1) / sizes.sum()  # (M,)
    drawn = stratified_resamples(strata, resamples, seed)
    found = np.stack([differences[:, each].sum(axis=1) / sizes[each].sum() for each in drawn], axis=1)  # (M, R)
    return [percentile_interval(*pair, level) for pair in zip(value, found, strict=True)]


def permutation_null(
    scores: np.ndarray, corrupted: np.ndarray, strata: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """Return areas under the ROC curve with the labels permuted within each stratum: what chance alone would give.

    The number of corruptions in each stratum stays. Where sources differ both in their scores and in their share of
    corruptions, the areas therefore are not around 0.5, but around what telling the sources apart is worth.
    `scipy.stats.permutation_test` would permute over all strata alike.

    Args:
        scores: (N,).
        corrupted: which examples are, (N,) bool.
        strata: codes, (N,), such as those of the sources.
        resamples: how many permutations.
        seed: the same seed gives the same areas.

    Returns:
        The area of each permutation, (R,).

    Raises:
        ValueError: a class is empty, or an example has a score that is no number.
    """
    (codes,) = _codes(scores[None], corrupted)
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    null = np.empty(resamples)
    for index in range(resamples):
        permuted = corrupted.copy()
        for rows in members:
            permuted[rows] = rng.permutation(corrupted[rows])
        null[index] = _area(codes, permuted)
    return null


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Return the one-sided p-value (1 + number of permutations that reach the observed value) / (1 + permutations).

    The sample itself is one of its permutations, so p is never 0 (Phipson and Smyth 2010, doi 10.2202/1544-6115.1585).
    """
    # An equal area that was summed in another order may differ in its last digits.
    return float((1 + np.sum(null >= observed - 1e-12)) / (1 + len(null)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p-values (Holm 1979), in the order given.

    Of m p-values the k-th smallest is multiplied by m - k + 1, made no smaller than the one before it, and at most 1.
    Rejecting what is at most alpha keeps the chance of any false rejection to alpha, however the tests depend.

    Args:
        p_values: (m,).

    Raises:
        ValueError: one is not in [0, 1].
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    if not ((p_values >= 0) & (p_values <= 1)).all():  # not the reverse: nan is neither
        raise ValueError(f"p-values are in [0, 1], not {p_values.tolist()}")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(adjusted, 1)


def _codes(scores: np.ndarray, corrupted: np.ndarray) -> list[np.ndarray]:
    """Return the place of each example among the distinct values of each score, M x (N,): what an area depends on."""
    if corrupted.all() or not corrupted.any():
        raise ValueError("an area needs both clean and corrupted examples")
    if np.isnan(scores).any():
        raise ValueError("an area needs a number of every example; leave out those without a score")
    return [np.unique(score, return_inverse=True)[1] for score in scores]


def _area(codes: np.ndarray, corrupted: np.ndarray) -> float:
    """Return the chance that a clean example has a higher code than a corrupted one; ties count half.

    The same as `metrics.auroc`, by counting instead of sorting: some ten times faster, for thousands of resamples.
    """
    values = codes.max() + 1
    clean = np.bincount(codes[~corrupted], minlength=values)  # (values,)
    worse = np.bincount(codes[corrupted], minlength=values)
    below = 2 * np.cumsum(worse) - worse  # twice the corrupted examples below each value, so that halves are whole
    return float(clean @ below) / (2 * int(clean.sum()) * int(worse.sum()))


def _crossed(strata: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """Return codes of the strata with the two classes apart."""
    return 2 * np.unique(strata, return_inverse=True)[1] + corrupted
