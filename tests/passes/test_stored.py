"""Columns of passes, read from files that this test writes."""

import numpy as np
import polars as pl
import pytest

from moesift.errors import UserError
from moesift.passes.stored import as_array, column_of


def test_a_column_is_read_of_a_part_of_the_pool_and_of_no_other_pool(tmp_path):
    path = tmp_path / "likelihood.parquet"
    pl.DataFrame({"id": ["b", "a", "c"], "nll": [1.0, None, 3.0]}).write_parquet(path)
    assert column_of(path, "nll", pl.Series("id", ["a", "c"]), start=1).to_list() == [None, 3.0]
    for others in (["a", "b", "c"], ["b", "a", "c", "d"]):  # in another order; one more
        with pytest.raises(UserError, match=r"likelihood\.parquet: its ids are not those of the pool in their order"):
            column_of(path, "nll", pl.Series("id", others))


def test_lists_of_numbers_are_rows_and_where_there_are_none_a_row_of_nan():
    column = pl.Series([[1.0, 2.0], None, [3.0, 4.0]], dtype=pl.List(pl.Float32))
    expected = [[1, 2], [np.nan, np.nan], [3, 4]]
    np.testing.assert_array_equal(as_array(column), np.array(expected, np.float32), strict=True)
    assert as_array(column[1:2], width=2).shape == (1, 2)
    with pytest.raises(UserError, match="no example has a response token"):
        as_array(column[1:2])


def test_numbers_are_an_array_and_conversations_stay_lists_of_turns():
    np.testing.assert_array_equal(as_array(pl.Series([2, None])), [2.0, np.nan])
    turns = [
        [{"role": "user", "content": "a"}],
        [{"role": "user", "content": "b"}, {"role": "assistant", "content": ""}],
    ]
    found = as_array(pl.Series(turns))
    assert (found.shape, found.tolist()) == ((2,), turns)
