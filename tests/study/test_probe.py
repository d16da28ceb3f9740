import numpy as np

from moesift.report.metrics import auroc
from moesift.study.probe import held_out


def data(seed=0, examples=400):
    """Two features of corrupted examples are shifted, of which kind a shifts only the first and kind b both."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(["clean", "a", "b"], examples)
    features = rng.normal(size=(examples, 6))
    features[:, 0] += 2.0 * (kinds != "clean")
    features[:, 1] += 2.0 * (kinds == "b")
    return features, kinds


def test_a_kind_that_was_left_out_is_told_by_what_it_shares_with_the_others():
    features, kinds = data()
    found = held_out(features, kinds != "clean", kinds != "a", seed=0)
    area = auroc(found[kinds == "clean"], found[kinds == "a"])
    assert area.value > 0.8
    assert abs(found[kinds != "a"].mean()) < 0.2  # both folds are on one scale


def test_labels_without_signal_are_not_learnt_by_heart():
    features, _ = data()
    noise = np.random.default_rng(1).random(len(features)) < 0.5
    found = held_out(features, noise, np.ones(len(features), dtype=bool), seed=0)
    area = auroc(found[~noise], found[noise])
    assert 0.4 < area.value < 0.6  # it would be near 1 for classifiers that judge what they were trained on


def test_one_class_alone_gives_no_judgement():
    features, kinds = data()
    found = held_out(features, kinds != "clean", kinds == "clean", seed=0)
    assert np.isnan(found).all()
