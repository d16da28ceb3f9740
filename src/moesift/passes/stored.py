"""Columns of a pass or of the pool, from their files: of some examples, as an array."""

from pathlib import Path

import numpy as np
import polars as pl

from moesift.errors import UserError


def column_of(path: Path, name: str, ids: pl.Series, start: int = 0) -> pl.Series:
    """Return a column of a pass, of some examples of the pool in its order, from a place on.

    Raises:
        UserError: the pass is of another pool.
    """
    read = pl.scan_parquet(path).select("id", name).slice(start, len(ids)).collect()
    if not read["id"].equals(ids):
        raise UserError(f"{path}: its ids are not those of the pool in their order; remove it, and run again")
    return read[name]


def as_array(column: pl.Series, width: int | None = None) -> np.ndarray:
    """Return a column as an array, (N,), or of lists of equally many numbers (N, D), nan where there is none.

    Conversations are (N,) lists of turns, {"role", "content", …} each.

    Args:
        width: D, where it is known: in a part of the pool no example may have any.

    Raises:
        UserError: no example has any numbers, and the width is not known.
    """
    if not isinstance(column.dtype, pl.List):
        return column.to_numpy()
    if not column.dtype.inner.is_numeric():
        return np.fromiter(column.to_list(), dtype=object, count=len(column))
    found = column.list.len().max() if width is None else width
    if not isinstance(found, int):
        raise UserError("data.max_length: no example has a response token within it")
    nothing = [float("nan")] * found
    return column.fill_null(pl.lit(nothing, column.dtype)).list.to_array(found).to_numpy()
