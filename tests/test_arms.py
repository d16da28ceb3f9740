import polars as pl
import pytest

from moesift.arms import chosen
from moesift.errors import UserError

POOL = pl.DataFrame(
    {
        "id": list("abcdefgh"),
        "source": ["x"] * 6 + ["y"] * 2,
        "corruption": ["clean", "cut", "clean", "cut", "clean", "cut", "cut", "cut"],
    }
)
SCORES = {
    "router": pl.DataFrame({"id": list("abcdefgh"), "score": [3.0, 1.0, 2.0, 3.0, 0.5, None, -1.0, 0.0]}),
    "nll": pl.DataFrame({"id": list("abcdefgh"), "score": [-9.0, -5.0, -4.9, -5.2, -1.0, -2.0, -8.0, -7.0]}),
}


@pytest.mark.parametrize(
    ("arm", "ids"),
    [
        ("router", ["a", "d"]),  # equal scores by id
        ("bottom", ["g", "h"]),
        ("mid_nll", ["b", "d"]),  # the median is -5.1
        ("nll", ["e", "f"]),
    ],
)
def test_what_is_ranked_is_taken_from_its_end(arm, ids):
    assert chosen(arm, SCORES, POOL, 0.25, seed=0) == ids


def test_an_example_without_a_score_is_never_kept():
    assert "f" not in chosen("router", SCORES, POOL, 0.875, seed=0)
    with pytest.raises(UserError, match="router has scores of 7 examples, and 8 are to be kept"):
        chosen("router", SCORES, POOL, 1.0, seed=0)


def test_an_oracle_takes_clean_examples_as_far_as_there_are_any():
    assert set(chosen("oracle", SCORES, POOL, 0.25, seed=1)) < {"a", "c", "e"}
    assert sorted(chosen("oracle", SCORES, POOL, 1.0, seed=1)) == ["a", "c", "e"]


def test_balanced_takes_as_many_of_each_source():
    kept = chosen("balanced", SCORES, POOL, 0.5, seed=0)
    assert len(kept) == 4
    assert {"g", "h"} < set(kept)


def test_random_is_decided_by_the_seed_and_full_is_everything():
    assert chosen("random", SCORES, POOL, 0.5, seed=1) == chosen("random", SCORES, POOL, 0.5, seed=1)
    assert len({tuple(sorted(chosen("random", SCORES, POOL, 0.5, seed=seed))) for seed in range(20)}) > 5
    assert chosen("full", SCORES, POOL, 1.0, seed=0) == list("abcdefgh")
