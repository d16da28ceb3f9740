"""Scores that need no model: the baselines that a selection has to beat."""

from collections.abc import Sequence

import numpy as np

from moesift.chat import Encoded


def random_scores(count: int, seed: int) -> list[float]:
    """Return uniform random scores: selecting by them is random selection."""
    return np.random.default_rng(seed).random(count).tolist()


def length_scores(examples: Sequence[Encoded]) -> list[float]:
    """Return the response tokens of each example: the longest first is a strong baseline (arXiv 2402.04833)."""
    return [float(sum(example.response)) for example in examples]
