"""Parquet files written block by block, so that they need not fit into memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq


def write_blocks(blocks: Iterator[pl.DataFrame], path: Path) -> None:
    """Write frames of the same columns to one file, a row group each; at least one is needed."""
    first = next(blocks).to_arrow()
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for block in blocks:
            writer.write_table(block.to_arrow())


def rows_of(path: Path, wanted: np.ndarray, rows: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of a file that are wanted, in blocks of `rows` or somewhat more, at least one.

    Args:
        path: parquet of N rows, in row groups that fit into memory.
        wanted: (N,) bool.
        rows: of a block; the last may have fewer.
    """
    waiting, start = pl.DataFrame(schema=pl.read_parquet_schema(path)), 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            chosen = wanted[start : start + file.metadata.row_group(group).num_rows]
            start += len(chosen)
            if chosen.any():  # a group without any is not read
                block = pl.DataFrame(pl.from_arrow(file.read_row_group(group)), schema=waiting.schema)
                waiting.vstack(block.filter(chosen), in_place=True)
            if waiting.height >= rows:
                yield waiting.rechunk()
                waiting = waiting.clear()
    if waiting.height or wanted.sum() < rows:
        yield waiting


def blocks_of(frame: pl.DataFrame, rows: int) -> Iterator[pl.DataFrame]:
    """Yield a frame in blocks of at most `rows` rows, at least one.

    Blocks are copies: writing a slice would convert the whole columns that it is a slice of.
    """
    for start in range(0, max(1, frame.height), rows):
        yield frame[start : start + rows].select(pl.all().gather(pl.int_range(pl.len())))
