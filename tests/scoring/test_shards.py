import polars as pl
import pytest

from moesift.errors import UserError
from moesift.scoring.shards import merged

ROWS = pl.DataFrame({"id": ["d", "b", "a", "c"], "nats": [1.0, 2.0, 3.0, None]})


def test_the_order_is_that_of_the_pool():
    assert merged([ROWS[2:], ROWS[:2]], ROWS["id"]).rows() == ROWS.rows()
    assert merged([ROWS[:0], ROWS], ROWS["id"]).rows() == ROWS.rows()  # a shard may have had nothing to do


@pytest.mark.parametrize(
    ("shards", "ids", "message"),
    [
        ([ROWS[:2]], ROWS["id"], r"2 ids are missing: \['a', 'c'\]"),
        ([ROWS, ROWS[:1]], ROWS["id"], r"1 ids are there more than once: \['d'\]"),
        ([ROWS], ROWS["id"][1:], r"1 ids are not in the pool: \['d'\]"),
    ],
)
def test_shards_that_are_not_the_pool_are_refused(shards, ids, message):
    with pytest.raises(UserError, match=message):
        merged(shards, ids)
