import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest
import torch

from moesift.methods.ngrams import dsir
from moesift.select.targeted import assign

TEXTS = [
    "The cat sat on the mat.", "Iron is a metal; so is lead.", "the CAT, the mat!", "Which metal is it?", "on and on",
    "a cat is a cat is a cat", "Lead on.", "",
]  # fmt: skip


def chat(text, answer="No."):
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer if text else ""}]


def blocks(texts, size=3):
    return [{"messages": [chat(text) for text in texts[start : start + size]]} for start in range(0, len(texts), size)]


def queries(**of_target):
    owners = [number for number, texts in enumerate(of_target.values()) for _ in texts]
    return {"messages": [chat(text) for texts in of_target.values() for text in texts], "target": np.array(owners)}


def published(texts, wanted, smoothing):
    """DSIR by its formula, one example at a time; n-grams instead of their hashes, which do not collide here."""

    def counted(text):
        words = re.findall(r"\w+|[^\w\s]+", f"{text}\nNo.".lower()) if text else []
        return Counter(words) + Counter(itertools.pairwise(words))

    target, pool = (sum(map(counted, some), Counter()) for some in (wanted, texts))

    def log_ratio(one):
        share = pool[one] / pool.total()
        return math.log(smoothing * share + (1 - smoothing) * target[one] / target.total()) - math.log(share)

    return [sum(n * log_ratio(one) for one, n in counted(text).items()) for text in texts]


@pytest.mark.parametrize("smoothing", [0.8, 1e-8])
def test_dsir_is_as_published(smoothing):
    metals, cats = ["Is lead a metal?", "Iron!"], ["the cat"]
    found = lambda: dsir(blocks(TEXTS), queries(metals=metals, cats=cats), smoothing=smoothing, seed=0)  # noqa: E731
    weights = np.concatenate(list(found()))
    expected = np.array([published(TEXTS, wanted, smoothing) for wanted in (metals, cats)]).T
    assert weights[:7] == pytest.approx(expected[:7], abs=1e-4)
    assert np.isnan(weights[7]).all()  # no word: not a weight of 0, which is above most
    order, left = [], set(range(7))
    while left:
        order.append(max(left, key=lambda row: expected[row, len(order) % 2]))
        left.remove(order[-1])

    taken = assign(lambda: map(torch.from_numpy, found()), np.array([0, 0, 1]), None, np.arange(8))
    assert taken.rows.tolist() == order


def test_a_script_without_spaces_is_counted_by_character():
    """Otherwise each sentence would be one word, that no other text has."""
    texts = ["铁是一种金属。", "猫坐在垫子上。", "iron是金属"]
    weights = np.concatenate(list(dsir(blocks(texts), queries(metals=["铅是金属吗？"]), seed=0)))[:, 0]
    assert weights[[0, 2]].min() > weights[1]


def test_noise_is_gumbels_the_same_for_each_reading_and_of_the_seed():
    wanted = queries(metals=["Is lead a metal?"])
    texts = TEXTS[:7] * 100

    def noise(seed, size):
        drawn, best = (
            np.concatenate(list(dsir(blocks(texts, size), wanted, gumbel=gumbel, seed=seed))) for gumbel in (2.0, 0.0)
        )
        return (drawn - best)[:, 0] / 2

    one = noise(0, 100)
    assert one == pytest.approx(noise(0, 7))
    assert not np.allclose(one, noise(1, 100))
    assert (one.mean(), one.std()) == pytest.approx((np.euler_gamma, math.pi / 6**0.5), rel=0.15)
