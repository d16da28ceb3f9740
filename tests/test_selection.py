import polars as pl
import pytest

from moesift.errors import UserError
from moesift.selection import keep

SCORES = pl.DataFrame({"id": ["d", "b", "a", "c"], "score": [1.0, 2.0, 2.0, None]})


def test_the_ratio_is_of_the_whole_pool_and_ranks_begin_at_one():
    kept = keep(SCORES, 0.5)
    assert kept.rows() == [("a", 1, 2.0), ("b", 2, 2.0)]
    assert keep(SCORES, 0.01)["id"].to_list() == ["a"]  # never none


def test_an_example_without_a_score_is_never_kept():
    with pytest.raises(UserError, match=r"select.ratio: 1 of 4 is 4, but only 3 have a score"):
        keep(SCORES, 1.0)
