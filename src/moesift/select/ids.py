"""Ids as numbers, while many millions of them are held in memory.

The id of the pool (`moesift.data.pool.content_id`) is 16 hexadecimal digits: 8 bytes, which a string spends 32 on. The
order of the numbers is that of the digits.
"""

import numpy as np
import polars as pl

DIGITS = 16


def are_hexadecimal(ids: pl.LazyFrame) -> bool:
    """Return whether every `id` of a frame is 16 hexadecimal digits, as those of a pool are."""
    return ids.select(pl.col("id").str.contains(rf"^[0-9a-f]{{{DIGITS}}}$").all()).collect(engine="streaming").item()


def numbers(ids: pl.Expr) -> pl.Expr:
    """Return hexadecimal ids as numbers."""
    return ids.str.to_integer(base=16, dtype=pl.UInt64)


def digits(ids: pl.Series) -> pl.Series:
    """Return ids as they are written: numbers in hexadecimal digits, strings as they are."""
    if ids.dtype == pl.String:
        return ids
    text = ids.to_numpy().astype(">u8").tobytes().hex().encode()
    return pl.Series(ids.name, np.frombuffer(text, dtype=f"S{DIGITS}"), dtype=pl.Binary).cast(pl.String)
