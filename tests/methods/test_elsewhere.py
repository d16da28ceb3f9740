"""Methods that take what others have measured: scores that were given, and those of a classifier."""

import json

import numpy as np
import pytest

from moesift.errors import UserError
from moesift.methods.reward import NO_TOKENS, reward


def test_the_only_label_or_the_one_that_is_named():
    labels = np.array([json.dumps(["LABEL_0"]), None], dtype=object)
    values, refused = reward(np.array([[1.5], [np.nan]]), labels)
    assert values[0] == 1.5
    assert refused[NO_TOKENS].tolist() == [False, True]
    scores, labels = np.array([[-2.0, -0.1], [-0.5, -0.9]]), np.array([json.dumps(["bad", "good"])] * 2, dtype=object)
    assert reward(scores, labels, label="good")[0].tolist() == [-0.1, -0.9]
    assert reward(scores, labels, label=0)[0].tolist() == [-2.0, -0.5]
    for label, message in (
        (None, r"has several labels; name the good one of bad \(0\), good \(1\)"),
        ("great", r"has no label great; it has bad \(0\), good \(1\)"),
        (2, r"has no label 2; it has bad \(0\)"),
    ):
        with pytest.raises(UserError, match=rf"methods: reward: label: reward.model {message}"):
            reward(scores, labels, label=label)
