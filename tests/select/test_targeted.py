import numpy as np
import pytest
import torch

from moesift.select import targeted
from moesift.select.targeted import assign

# Four queries of two targets, seven examples; the last has no similarity.
SIMILAR = np.array(
    [
        [0.9, 0.8, 0.1, 0.0],
        [0.8, 0.9, 0.2, 0.1],
        [0.7, 0.1, 0.9, 0.2],
        [0.1, 0.2, 0.3, 0.4],
        [0.0, 0.3, 0.6, 0.5],
        [0.2, 0.0, 0.5, 0.3],
        [np.nan] * 4,
    ],
    dtype=np.float32,
)
OWNERS = np.array([0, 0, 0, 1])


def blocks(similar=SIMILAR, size=3):
    return lambda: (torch.from_numpy(similar[start : start + size]) for start in range(0, len(similar), size))


def plainly(similar, owners, aggregate):
    """The definition, one turn at a time: (row, target, query)."""
    own = [np.flatnonzero(owners == target) for target in range(owners.max() + 1)]
    left, taken, turn = [row for row in range(len(similar)) if np.isfinite(similar[row]).all()], [], 0
    while left:
        target = turn % len(own)
        query = own[target][turn // len(own) % len(own[target])]
        if aggregate == "round_robin":
            row = max(left, key=lambda row: similar[row, query])
        else:
            of_target = {"max": np.max, "mean": np.mean}[aggregate]
            row = max(left, key=lambda row: of_target(similar[row, own[target]]))
            query = own[target][similar[row, own[target]].argmax()]
        left.remove(row)
        taken.append((row, target, int(query)))
        turn += 1
    return taken


def test_each_query_takes_its_best_that_is_still_there():
    found = assign(blocks(), np.zeros(4, dtype=int), "round_robin", np.arange(7))
    assert found.rows.tolist() == [0, 1, 2, 4, 5, 3]  # the fourth query has 0.5 for 4; then the first 0.2 for 5
    assert found.queries.tolist() == [0, 1, 2, 3, 0, 1]
    assert found.similarities == pytest.approx([0.9, 0.9, 0.9, 0.5, 0.2, 0.2])


def test_targets_take_turns():
    found = assign(blocks(), OWNERS, "round_robin", np.arange(7))
    assert found.targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert list(zip(found.rows, found.queries, strict=True)) == [(0, 0), (4, 3), (1, 1), (3, 3), (2, 2), (5, 3)]


def test_the_best_and_the_mean_of_a_target():
    found = assign(blocks(), np.zeros(4, dtype=int), "max", np.arange(7))
    assert (found.rows.tolist(), found.queries.tolist()) == ([0, 1, 2, 4, 5, 3], [0, 1, 2, 2, 2, 3])
    found = assign(blocks(), np.zeros(4, dtype=int), "mean", np.arange(7))
    assert found.rows.tolist() == [1, 2, 0, 4, 3, 5]
    assert found.similarities == pytest.approx([0.5, 0.475, 0.45, 0.35, 0.25, 0.25])


def test_a_number_for_each_target():
    found = assign(blocks(SIMILAR[:, :2]), np.array([0, 0, 0, 1]), None, np.arange(7))
    assert found.rows.tolist() == [0, 1, 2, 4, 5, 3]
    assert found.targets.tolist() == [0, 1, 0, 1, 0, 1]
    assert set(found.queries.tolist()) == {-1}


@pytest.mark.parametrize("held", [1, 40, 10_000])
@pytest.mark.parametrize("aggregate", ["round_robin", "max", "mean"])
def test_it_is_the_definition_however_little_is_held(aggregate, held, monkeypatch):
    monkeypatch.setattr(targeted, "HELD", held)
    generator = np.random.default_rng(0)
    similar = generator.random((60, 9), dtype=np.float32)
    similar[generator.random(60) < 0.1] = np.nan
    owners = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    found = assign(blocks(similar, 7), owners, aggregate, np.arange(60))
    assert list(zip(found.rows, found.targets, found.queries, strict=True)) == plainly(similar, owners, aggregate)


@pytest.mark.parametrize("aggregate", ["round_robin", "max", "mean"])
def test_a_query_without_a_similarity_keeps_no_other_from_taking(aggregate):
    similar = np.insert(SIMILAR, 2, np.nan, axis=1)
    found = assign(blocks(similar), np.zeros(5, dtype=int), aggregate, np.arange(7))
    expected = assign(blocks(), np.zeros(4, dtype=int), aggregate, np.arange(7))
    if aggregate == "round_robin":  # its turns pass
        assert sorted(found.rows) == sorted(expected.rows)
        assert 2 not in found.queries
    else:
        assert found.rows.tolist() == expected.rows.tolist()
        assert found.similarities == pytest.approx(expected.similarities)


@pytest.mark.parametrize("held", [4, 10_000])
@pytest.mark.parametrize("aggregate", ["round_robin", "max"])
def test_equally_similar_ones_are_taken_by_their_ranks(aggregate, held, monkeypatch):
    """Also where more are as similar as are held, and whether zero has a sign or not."""
    monkeypatch.setattr(targeted, "HELD", held)
    similar = np.array([[0.5]] * 8 + [[-0.0], [0.0]] * 8 + [[-0.5]] * 8, dtype=np.float32)
    ranks = np.random.default_rng(0).permutation(32)
    expected = sorted(range(32), key=lambda row: (-similar[row, 0], ranks[row]))
    found = assign(blocks(similar, 5), np.array([0]), aggregate, ranks)
    assert found.rows.tolist() == expected
    assert found.similarities.tolist() == sorted(similar[:, 0].tolist(), reverse=True)


def test_a_query_without_a_similarity_takes_nothing():
    similar = SIMILAR[:6, :2].copy()
    similar[:, 1] = np.nan
    found = assign(blocks(similar), np.array([0, 0]), "round_robin", np.arange(6))
    assert (found.rows.tolist(), set(found.queries.tolist())) == ([0, 1, 2, 5, 3, 4], {0})
    assert not len(
        assign(blocks(np.full((3, 2), np.nan, dtype=np.float32)), np.array([0, 0]), "max", np.arange(3)).rows
    )
