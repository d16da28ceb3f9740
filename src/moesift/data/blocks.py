"""A parquet written block by block, so that it need not fit into memory."""

from collections.abc import Iterator
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
