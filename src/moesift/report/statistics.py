"""How sure a number is: intervals over seeds, intervals over examples or questions, and tests of many differences."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A number and the ends of its interval, None where that cannot be estimated."""

    value: float
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """The mean of paired differences, its interval, and the p-value of no difference."""

    value: float
    low: float | None
    high: float | None
    p: float | None


def t_interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Return the mean with Student's interval; one value has none. See `paired_t`."""
    return Interval(*paired_t(values, level)[:3])


def paired_t(differences: np.ndarray, level: float = 0.95) -> Difference:
    """Return the mean of paired differences with Student's interval and two-sided t-test.

    Args:
        differences: (n,), one a seed. One has neither interval nor test; equal ones have no test.
        level: chance that the interval covers the true mean of normally distributed differences, in (0, 1).

    Raises:
        ValueError: there are no differences, or one is not finite.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if not len(differences) or not np.isfinite(differences).all():
        raise ValueError(f"a mean needs finite numbers, not {differences.tolist()}")
    mean = float(differences.mean())
    if len(differences) == 1:
        return Difference(mean, None, None, None)
    if np.ptp(differences) == 0:
        return Difference(mean, mean, mean, None)
    test = stats.ttest_1samp(differences, 0)
    return Difference(mean, *map(float, test.confidence_interval(level)), float(test.pvalue))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p-values (Holm 1979), in the order given.

    Of m p-values the k-th smallest is multiplied by m - k + 1, made no smaller than the one before it, and at most 1.
    To reject what is at most alpha keeps the chance of any false rejection to alpha, however the tests depend.

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


def stratified_resamples(strata: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield bootstrap resamples that draw each example, with replacement, from its own stratum.

    What is computed of the same resample is paired. `scipy.stats.bootstrap` has pairs, but no strata.

    Args:
        strata: codes, (N,). The only example of a stratum is drawn every time.
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


def paired_ratios(
    differences: np.ndarray, sizes: np.ndarray, strata: np.ndarray, resamples: int, seed: int, level: float = 0.95
) -> list[Interval]:
    """Return intervals of sums of paired differences over the sum of sizes, by bootstrap over questions or examples.

    They are percentile intervals (Efron and Tibshirani 1993, section 13.3). With sizes of 1 the ratio is the mean
    difference of two models that answered the same questions; with the tokens of examples as sizes and differences of
    their losses it is a difference per token.

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
        ValueError: there are no questions, or a difference is not a number.
    """
    if not len(sizes) or np.isnan(differences).any():
        raise ValueError("a difference needs questions, and a number for each")
    value = differences.sum(axis=1) / sizes.sum()  # (M,)
    drawn = stratified_resamples(strata, resamples, seed)
    resampled = np.stack([differences[:, each].sum(axis=1) / sizes[each].sum() for each in drawn], axis=1)  # (M, R)
    ends = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=1).T  # (M, 2)
    return [Interval(*map(float, numbers)) for numbers in np.column_stack([value, ends])]
