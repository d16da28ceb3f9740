"""How sure a number is: intervals over seeds, intervals over examples or questions, and tests of many differences."""

import numpy as np
from scipy import stats


def t_interval(values: np.ndarray) -> tuple[float, float | None, float | None, float | None]:
    """Return the mean of values, (n,), the ends of Student's 95% interval, and the p-value of a mean of 0 (two-sided).

    One value has neither interval nor test; equal ones have no test.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean needs finite numbers, not {values.tolist()}")
    mean = float(values.mean())
    if len(values) == 1:
        return mean, None, None, None
    if np.ptp(values) == 0:
        return mean, mean, mean, None
    test = stats.ttest_1samp(values, 0)
    low, high = test.confidence_interval(0.95)
    return mean, float(low), float(high), float(test.pvalue)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p-values (Holm 1979), (m,), in the order given.

    The k-th smallest is multiplied by m - k + 1, made no smaller than the one before it, and at most 1. To reject what
    is at most alpha keeps the chance of any false rejection to alpha, however the tests depend.

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


def paired_ratios(
    differences: np.ndarray, sizes: np.ndarray, strata: np.ndarray, shares: np.ndarray, resamples: int, seed: int
) -> np.ndarray:
    """Return 95% percentile intervals (Efron and Tibshirani 1993, section 13.3) of means of ratios of sums, (M, 2).

    The ratio of a stratum is the sum of the paired differences of M pairs on its questions, (M, N) in all, over that of
    their sizes, (N,): with sizes of 1 the mean difference of two models; with tokens as sizes and differences of losses
    a difference per token. Each question is replaced by one of its own stratum, for which `scipy.stats.bootstrap` has
    no way, and the ratios of the S strata are weighed by their shares.

    Args:
        strata: (N,), the questions of each stratum together.
        shares: (S,), in the order of the strata.

    Raises:
        ValueError: there are no questions, or a difference is not a number.
    """
    if not len(sizes) or np.isnan(differences).any():
        raise ValueError("a difference needs questions, and a number for each")
    starts = np.flatnonzero(np.r_[True, strata[1:] != strata[:-1]])  # (S,)
    counts = np.diff(starts, append=len(strata))
    first, count = np.repeat(starts, counts), np.repeat(counts, counts)  # (N,)
    rng = np.random.default_rng(seed)
    resampled = np.empty((len(differences), resamples))
    for place in range(resamples):
        drawn = first + rng.integers(count)
        sums, of = np.add.reduceat(differences[:, drawn], starts, axis=1), np.add.reduceat(sizes[drawn], starts)
        resampled[:, place] = sums / of @ shares  # (M, S) @ (S,)
    return np.quantile(resampled, [0.025, 0.975], axis=1).T
