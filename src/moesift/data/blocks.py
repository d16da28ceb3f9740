"""A parquet written block by block, so that it need not fit into memory."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq


def write_blocks(blocks: Iterator[pl.DataFrame], path: Path) -> None:
    """Write frames of the same columns one below the other, at least one."""
    first = next(blocks).to_arrow()
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first)
        for block in blocks:
            writer.write_table(block.to_arrow())


def blocks_of(frame: pl.DataFrame, rows: int) -> Iterator[pl.DataFrame]:
    """Yield a frame in blocks of at most `rows` rows, at least one.

    They are copies: who writes a slice converts all of the columns that it is a slice of.
    """
    for start in range(0, max(1, frame.height), rows):
        yield frame[start : start + rows].select(pl.all().gather(pl.int_range(pl.len())))


def side_by_side(paths: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Yield the columns of files that `write_blocks` was given blocks of the same rows for, block by block."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(pq.ParquetFile(path)) for path in paths]
        for block in range(files[0].num_row_groups):
            yield pl.concat([pl.DataFrame(file.read_row_group(block)) for file in files], how="horizontal")
