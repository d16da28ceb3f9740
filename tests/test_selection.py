import polars as pl
import pytest

from moesift.errors import UserError
from moesift.selection import keep, merged

SCORES = pl.DataFrame({"id": ["d", "b", "a", "c"], "score": [1.0, 2.0, 2.0, None]})


def test_best_first_ties_by_id_and_no_score_last():
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        ranking = merged([SCORES[order][:2], SCORES[order][2:]], SCORES["id"])
        assert ranking["id"].to_list() == ["a", "b", "d", "c"]


@pytest.mark.parametrize(
    ("shards", "ids", "message"),
    [
        ([SCORES[:2]], SCORES["id"], r"2 ids are missing: \['a', 'c'\]"),
        ([SCORES, SCORES[:1]], SCORES["id"], r"1 ids are scored more than once: \['d'\]"),
        ([SCORES], SCORES["id"][1:], r"1 ids are not in the pool: \['d'\]"),
    ],
)
def test_a_scoring_that_is_not_the_pool_is_refused(shards, ids, message):
    with pytest.raises(UserError, match=message):
        merged(shards, ids)


def test_the_ratio_is_of_the_whole_pool_and_ranks_begin_at_one():
    kept = keep(SCORES, 0.5)
    assert kept.rows() == [("a", 1, 2.0), ("b", 2, 2.0)]
    assert keep(SCORES, 0.01)["id"].to_list() == ["a"]  # never none


def test_an_example_without_a_score_is_never_kept():
    with pytest.raises(UserError, match=r"select.ratio: 1 of 4 is 4, but only 3 have a score"):
        keep(SCORES, 1.0)
