import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from moesift.report.metrics import auroc
from moesift.study.intervals import (
    bootstrap_areas,
    holm,
    percentile_interval,
    permutation_null,
    permutation_p,
    stratified_resamples,
    t_interval,
)


def sample(clean, corrupted, apart, seed=0):
    """Normal scores, those of the clean examples higher by `apart`, and which examples are corrupted."""
    rng = np.random.default_rng(seed)
    labels = np.arange(clean + corrupted) >= clean
    return rng.normal(size=clean + corrupted) - apart * labels, labels


def one_stratum(labels):
    return np.zeros(len(labels), dtype=int)


def test_the_interval_over_seeds_is_students():
    # Mean 0.6, deviation sqrt(0.03); t(2) = 4.302653 at 95% and 2.919986 at 90%.
    values = np.array([0.5, 0.5, 0.8])
    half = 4.302653 * np.sqrt(0.03) / np.sqrt(3)
    assert t_interval(values) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    narrow = 2.919986 * np.sqrt(0.03) / np.sqrt(3)
    assert t_interval(values, 0.9) == pytest.approx((0.6, 0.6 - narrow, 0.6 + narrow))
    many = np.random.default_rng(0).normal(size=20)
    assert t_interval(many)[1:] == pytest.approx(stats.ttest_1samp(many, 0).confidence_interval())


def test_one_seed_has_no_interval_and_equal_seeds_one_without_width():
    assert t_interval(np.array([0.25])) == (0.25, None, None)
    assert t_interval(np.array([0.25, 0.25])) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("values", [[], [0.1, np.nan], [np.inf]])
def test_a_mean_of_nothing_or_of_no_number_is_refused(values):
    with pytest.raises(ValueError, match="finite numbers, not"):
        t_interval(np.array(values))


def test_percentiles_leave_out_the_same_share_at_both_ends():
    assert percentile_interval(7.0, np.arange(201.0)) == pytest.approx((7.0, 5.0, 195.0))
    assert percentile_interval(7.0, np.arange(201.0), 0.5) == pytest.approx((7.0, 50.0, 150.0))


def test_every_example_is_replaced_by_one_of_its_stratum():
    strata = np.array([3, 0, 3, 7, 0, 3])
    drawn = np.stack(list(stratified_resamples(strata, 500, seed=0)))
    assert drawn.shape == (500, 6)
    assert (strata[drawn] == strata).all()
    assert (drawn[:, 3] == 3).all()  # alone in its stratum
    assert set(drawn[:, 0]) == {0, 2, 5}
    # Each of three examples is drawn for a place with the chance 1/3: 500 draws have the deviation 0.021.
    assert np.mean(drawn[:, 0] == 2) == pytest.approx(1 / 3, abs=0.08)
    again = np.stack(list(stratified_resamples(strata, 500, seed=0)))
    assert (drawn == again).all()


def test_the_bootstrap_of_a_mean_has_its_known_standard_error():
    # The bootstrap variance of a mean within strata is the sum of n_s var_s / N^2, with the variance of divisor n_s.
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1, 2], [50, 30, 20])
    values = rng.normal(size=100) * np.array([1.0, 2.0, 3.0])[strata] + 10 * strata
    exact = np.sqrt(sum(np.sum(strata == s) * values[strata == s].var() for s in range(3))) / 100
    means = [values[drawn].mean() for drawn in stratified_resamples(strata, 4000, seed=1)]
    assert np.std(means) == pytest.approx(exact, rel=0.05)  # 4.5 deviations of its estimate
    assert np.mean(means) == pytest.approx(values.mean(), abs=0.02)


@pytest.mark.parametrize("ties", [False, True])
def test_the_areas_and_their_resamples_are_those_of_sklearn(ties):
    scores, corrupted = sample(40, 30, 0.7)
    scores = scores.round() if ties else scores
    (found,) = bootstrap_areas(scores[None], corrupted, one_stratum(corrupted), [[1]], 200, seed=3)
    assert found.value == pytest.approx(roc_auc_score(~corrupted, scores))
    # A resample as sklearn has it: each example weighs as often as it is drawn.
    weights = [np.bincount(drawn, minlength=70) for drawn in stratified_resamples(1 * corrupted, 200, seed=3)]
    areas = [roc_auc_score(~corrupted, scores, sample_weight=weight) for weight in weights]
    assert found[1:] == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))


def test_the_interval_of_one_area_is_delongs():
    scores, corrupted = sample(1500, 600, 0.7)
    (found,) = bootstrap_areas(scores[None], corrupted, one_stratum(corrupted), [[1]], 2000, seed=0)
    value, half = auroc(scores[~corrupted], scores[corrupted])
    assert found == pytest.approx((value, value - half, value + half), abs=0.003)  # half is 0.024


def test_the_interval_of_a_difference_is_delongs_for_correlated_areas():
    # Their variance is that of the two classes' mean differences of placements (DeLong et al. 1988, eq. 3 to 5).
    common, corrupted = sample(1500, 600, 0.7)
    other = common + np.random.default_rng(1).normal(size=2100) / 2
    differences = []
    for of_class, others, side in ((~corrupted, corrupted, 1), (corrupted, ~corrupted, -1)):
        placed = [np.mean(side * s[of_class, None] > side * s[None, others], axis=1) for s in (common, other)]
        differences.append(placed[0] - placed[1])
    half = 1.959964 * np.sqrt(sum(each.var(ddof=1) / len(each) for each in differences))
    strata = one_stratum(corrupted)
    scores = np.stack([common, other])
    one, two, found = bootstrap_areas(scores, corrupted, strata, [[1, 0], [0, 1], [1, -1]], 2000, seed=0)
    value = differences[0].mean()
    assert found == pytest.approx((value, value - half, value + half), abs=0.0015)
    assert found.value == pytest.approx(one.value - two.value)
    # What makes it narrow is the pairing: as of independent examples it would be more than twice as wide.
    assert np.hypot(one.high - one.low, two.high - two.low) > 2 * (found.high - found.low)


def test_equal_rankings_differ_by_nothing_whatever_is_drawn():
    scores, corrupted = sample(50, 20, 0.5)
    both = np.stack([scores, np.exp(3 * scores)])
    assert bootstrap_areas(both, corrupted, one_stratum(corrupted), [[1, -1]], 300, seed=0) == [(0, 0, 0)]


def test_a_mean_of_areas_is_a_contrast():
    first, corrupted = sample(50, 20, 0.5)
    second, _ = sample(50, 20, 1.5, seed=1)
    scores, strata = np.stack([first, second]), one_stratum(corrupted)
    one, two, mean = bootstrap_areas(scores, corrupted, strata, [[1, 0], [0, 1], [0.5, 0.5]], 100, seed=0)
    assert mean.value == pytest.approx((one.value + two.value) / 2)
    assert mean.low < mean.value < mean.high


def test_strata_keep_their_part_in_every_resample():
    # All that the score knows is the source; with its part of each class fixed, nothing is left to vary.
    source = np.repeat([0, 1], [30, 30])
    corrupted = np.r_[np.arange(30) < 5, np.arange(30) < 20]
    scores = 1.0 - source[None]
    # Of clean ones 25 in the better source and 10 in the other, of corrupted ones 5 and 20.
    area = (25 * 20 + (25 * 5 + 10 * 20) / 2) / (35 * 25)
    (fixed,) = bootstrap_areas(scores, corrupted, source, [[1]], 50, seed=0)
    assert fixed == pytest.approx((area, area, area))
    (free,) = bootstrap_areas(scores, corrupted, one_stratum(corrupted), [[1]], 50, seed=0)
    assert free.value == pytest.approx(area)
    assert free.high - free.low > 0.1


def test_areas_of_no_class_or_of_no_number_are_refused():
    scores, corrupted = sample(5, 5, 0.5)
    missing = np.where(np.arange(10) == 3, np.nan, scores)
    strata = one_stratum(corrupted)
    with pytest.raises(ValueError, match="both clean and corrupted"):
        bootstrap_areas(scores[None], np.ones(10, dtype=bool), strata, [[1]], 10, seed=0)
    with pytest.raises(ValueError, match="leave out those without a score"):
        bootstrap_areas(missing[None], corrupted, strata, [[1]], 10, seed=0)
    with pytest.raises(ValueError, match="leave out those without a score"):
        permutation_null(missing, corrupted, strata, 10, seed=0)


def test_permuted_labels_have_the_distribution_of_mann_whitney():
    scores, corrupted = sample(40, 30, 2.0)
    null = permutation_null(scores, corrupted, one_stratum(corrupted), 4000, seed=0)
    # Mean 1/2 and variance (m + n + 1) / 12 m n, whatever the labels were (Mann and Whitney 1947).
    deviation = np.sqrt(71 / (12 * 40 * 30))
    assert null.mean() == pytest.approx(0.5, abs=4 * deviation / np.sqrt(4000))
    assert null.std() == pytest.approx(deviation, rel=0.05)


def test_labels_are_permuted_within_their_stratum_only():
    scores = np.array([4.0, 3.0, 2.0, 1.0, 0.0])
    corrupted = np.array([False, False, True, True, True])
    # Labels that are the same throughout a stratum cannot be permuted there.
    assert permutation_null(scores, corrupted, 1 * corrupted, 20, seed=0).tolist() == [1.0] * 20
    # The clean example at 4 and the corrupted one at 0 are alone in theirs; the other clean one is at 3, 2 or 1. Of the
    # 6 pairs the first wins 3, the other 3, 2 or 1.
    null = permutation_null(scores, corrupted, np.array([0, 1, 1, 1, 2]), 300, seed=0)
    assert sorted(set(null.tolist())) == pytest.approx([4 / 6, 5 / 6, 1.0])


def test_the_sample_counts_as_one_of_its_permutations():
    null = np.array([0.4, 0.5, 0.6, 0.7])
    assert permutation_p(0.6, null) == 3 / 5
    assert permutation_p(0.6 + 1e-15, null) == 3 / 5  # rounding is no difference
    assert permutation_p(0.9, null) == 1 / 5
    assert permutation_p(0.0, null) == 1.0


def test_a_p_value_of_permutations_is_that_of_the_exact_test():
    scores, corrupted = sample(12, 9, 0.5)
    exact = stats.mannwhitneyu(scores[~corrupted], scores[corrupted], alternative="greater", method="exact").pvalue
    null = permutation_null(scores, corrupted, one_stratum(corrupted), 4000, seed=0)
    observed = roc_auc_score(~corrupted, scores)
    assert permutation_p(observed, null) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))


def test_holm_steps_down_and_never_back():
    # In order 0.01, 0.02, 0.022, 0.3: times 4, 3, 2 and 1 are 0.04, 0.06, 0.044 and 0.3; the third is raised to 0.06.
    assert holm(np.array([0.022, 0.3, 0.01, 0.02])) == pytest.approx([0.06, 0.3, 0.04, 0.06])
    assert holm(np.array([0.5, 0.5, 0.01])) == pytest.approx([1.0, 1.0, 0.03])
    assert holm(np.array([0.2])) == pytest.approx([0.2])
    assert holm(np.array([])).tolist() == []


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_what_is_no_p_value_is_refused(wrong):
    with pytest.raises(ValueError, match=r"in \[0, 1\], not"):
        holm(np.array([0.5, wrong]))
