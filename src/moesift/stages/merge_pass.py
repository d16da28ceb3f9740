"""Merge the shards of a pass: every example of the pool once, in the order of the pool."""

from pathlib import Path

import polars as pl

from moesift import flags
from moesift.data.blocks import write_blocks
from moesift.files import atomic_write, require_parquet
from moesift.passes.shards import merged


def main(shards: Path, number: int, pool: flags.Parquet, out: Path) -> None:
    """Read the shards and the pool, write the pass.

    Args:
        shards: folder with 1-of-8.parquet, 2-of-8.parquet and so on.
        number: of shards.
        pool: parquet of the pool.
        out: parquet to write.
    """
    files = [require_parquet(shards / f"{shard}-of-{number}.parquet") for shard in range(1, number + 1)]
    with atomic_write(out) as part:
        write_blocks(merged(files, pool), part)
    print(f"{pl.scan_parquet(out).select(pl.len()).collect().item()} examples")


if __name__ == "__main__":
    flags.run(main)
