import numpy as np
import pytest
from scipy import stats

from moesift.report.statistics import holm, paired_ratios, t_interval


def test_the_interval_and_the_test_over_seeds_are_students():
    # Mean 0.6, deviation sqrt(0.03); t(2) = 4.302653 at 95%; t = 6, whose two tails of t(2) are 1 - t / sqrt(t^2 + 2).
    half = 4.302653 * np.sqrt(0.03) / np.sqrt(3)
    expected = (0.6, 0.6 - half, 0.6 + half, 1 - 6 / np.sqrt(38))
    assert t_interval(np.array([0.5, 0.5, 0.8])) == pytest.approx(expected)


def test_one_seed_has_no_interval_and_equal_seeds_no_test():
    assert t_interval(np.array([0.25])) == (0.25, None, None, None)
    assert t_interval(np.array([0.25, 0.25])) == (0.25, 0.25, 0.25, None)


@pytest.mark.parametrize("values", [[], [0.1, np.nan], [np.inf]])
def test_a_mean_of_nothing_or_of_what_is_not_finite_is_refused(values):
    with pytest.raises(ValueError, match="finite numbers, not"):
        t_interval(np.array(values))


def test_holm_is_that_of_a_worked_example():
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1; the last is raised to the one before.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.array([]))) == 0
    with pytest.raises(ValueError, match=r"in \[0, 1\], not"):
        holm(np.array([0.1, np.nan]))


def test_each_question_is_replaced_by_one_of_its_stratum():
    # Equal within a stratum: whatever is drawn, the mean is the same.
    strata = np.array([0, 0, 3, 3, 3, 7])
    shares = np.array([2, 3, 1]) / 6
    found = paired_ratios(np.stack([strata, strata == 7]), np.ones(6), strata, shares, 50, seed=0)
    assert found == pytest.approx(np.array([[16 / 6] * 2, [1 / 6] * 2]))


def test_the_bootstrap_of_a_stratified_mean_has_its_known_standard_error():
    # The variance is the sum of n_s var_s / N^2, with the variance of divisor n_s.
    rng = np.random.default_rng(0)
    strata, shares = np.repeat([0, 1, 2], [50, 30, 20]), np.array([0.5, 0.3, 0.2])
    values = rng.normal(size=100) * np.array([1.0, 2.0, 3.0])[strata] + 10 * strata
    exact = np.sqrt(sum(np.sum(strata == s) * values[strata == s].var() for s in range(3))) / 100
    ((low, high),) = paired_ratios(values[None], np.ones(100), strata, shares, 4000, seed=1)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.2 * exact)
    assert (high - low) / (2 * stats.norm.ppf(0.975)) == pytest.approx(exact, rel=0.06)
    assert paired_ratios(values[None], np.ones(100), strata, shares, 4000, seed=1).tolist() == [[low, high]]


def test_a_ratio_is_of_sums_within_a_stratum_and_the_mean_weighs_the_strata():
    # Twice the size has twice the difference: the ratio is the same whatever is drawn.
    differences, sizes = np.array([[1.0, 2.0, 30.0, 60.0], [2.0, 4.0, 0.0, 0.0]]), np.array([1.0, 2.0, 10.0, 20.0])
    strata, shares = np.array([0, 0, 1, 1]), np.array([0.25, 0.75])
    found = paired_ratios(differences, sizes, strata, shares, 50, seed=0)
    assert found == pytest.approx(np.array([[0.25 * 1 + 0.75 * 3] * 2, [0.25 * 2] * 2]))
    with pytest.raises(ValueError, match="a number for each"):
        paired_ratios(differences * np.nan, sizes, strata, shares, 50, seed=0)
