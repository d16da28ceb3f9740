import numpy as np
import pytest
import torch

from moesift.data.semantic_duplicates import similar_pairs
from moesift.errors import UserError


def blocks_of(vectors, rows, without=()):
    """Blocks of so many places, without those that have no vector; a block of none is left out."""

    def blocks(start):
        for at in range(start, len(vectors), rows):
            places = np.array([n for n in range(at, min(at + rows, len(vectors))) if n not in without])
            if len(places):
                yield places, torch.tensor(vectors[places])

    return blocks


def test_pairs_are_those_whose_vectors_point_almost_the_same_way():
    """Of any length, at 0, 10, 20 and 90 degrees; the fifth is the first one again, twice as long."""
    angles = np.radians([0, 10, 20, 90, 0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([1, 3, 1, 1, 2])[:, None]
    found = similar_pairs(blocks_of(vectors, 2), 5, 0.98)
    assert list(zip(found.places, found.others, strict=True)) == [(0, 1), (0, 4), (1, 2), (1, 4)]
    assert found.cosines == pytest.approx([0.98481, 1, 0.98481, 0.98481], abs=1e-5)
    assert found.nearest == pytest.approx([1, 0.98481, 0.98481, np.cos(np.radians(70)), 1], abs=1e-5)


@pytest.mark.parametrize(("rows", "held"), [(7, 1), (7, 250), (50, 2**20), (1, 100)])
def test_every_pair_is_found_however_little_is_held(rows, held):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(120, 4)).astype(np.float16)
    without = {0, *range(21, 30), 119}
    unit = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    cosines = unit @ unit.T
    kept = [n for n in range(120) if n not in without]
    expected = {(a, b): cosines[a, b] for a in kept for b in kept if a < b and cosines[a, b] >= 0.9}
    found = similar_pairs(blocks_of(vectors, rows, without), 120, 0.9, held)
    assert list(zip(found.places.tolist(), found.others.tolist(), strict=True)) == sorted(expected)
    assert found.cosines == pytest.approx([expected[pair] for pair in sorted(expected)], abs=1e-5)
    np.fill_diagonal(cosines, -np.inf)
    cosines[:, sorted(without)] = -np.inf
    assert found.nearest[kept] == pytest.approx(cosines[kept].max(axis=1), abs=1e-5)
    assert np.isneginf(found.nearest[sorted(without)]).all()


def test_nothing_to_compare_is_no_pair():
    found = similar_pairs(blocks_of(np.ones((3, 2)), 2, {0, 1, 2}), 3, 0.9)
    assert (len(found.places), len(found.cosines)) == (0, 0)


def test_a_cosine_that_all_have_is_refused():
    with pytest.raises(UserError, match=r"cosine: more than 100 pairs .* of 0.9 or more.*; take a higher one"):
        similar_pairs(blocks_of(np.ones((20, 2)), 4), 20, 0.9, most=100)
