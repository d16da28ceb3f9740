"""Number the instructions of the pool, once for all methods: which examples answer the same one."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from pyarrow import parquet

from moesift import flags
from moesift.data.blocks import write_blocks
from moesift.data.pool import ROW_GROUP, content_id
from moesift.files import atomic_write


def main(pool: flags.Parquet, out: Path) -> None:
    """Read the pool, write a digest of the instruction of each example: of all turns before the last response.

    Args:
        pool: parquet of the pool.
        out: parquet to write.
    """

    def blocks() -> Iterator[pl.DataFrame]:
        with parquet.ParquetFile(pool) as table:
            for batch in table.iter_batches(ROW_GROUP, columns=["id", "messages"], use_threads=False):
                digests = [content_id(turns[:-1]) for turns in batch["messages"].to_pylist()]
                yield pl.DataFrame({"id": pl.Series(batch["id"]), "instruction": digests})

    with atomic_write(out) as part:
        write_blocks(blocks(), part)
    found = pl.read_parquet(out)
    print(f"{found.height} examples of {found['instruction'].n_unique()} instructions")


if __name__ == "__main__":
    flags.run(main)
