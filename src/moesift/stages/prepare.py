"""Prepare: rows of any instruction format -> the pool, the held-out examples and what was rejected."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from moesift import flags
from moesift.config import Data
from moesift.data.blocks import blocks_of, write_blocks
from moesift.data.corruption import corrupt
from moesift.data.pool import COLUMNS, ROW_GROUP, deduplicated, frequent_reasons, split, to_examples, with_content
from moesift.data.rows import Row
from moesift.data.sources import read_source
from moesift.demo.wheel import default_cache
from moesift.errors import run
from moesift.files import atomic_write


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    flags.add(parser, Data, "sources", "heldout", "corrupt", "corruptions", "seed")
    parser.add_argument("--pool", type=Path, required=True, help="parquet file to write: the pool")
    parser.add_argument("--heldout-out", type=Path, required=True, help="parquet file to write: the held-out examples")
    parser.add_argument("--rejected", type=Path, required=True, help="parquet file to write: rejected rows and reasons")
    return parser.parse_args()


def main() -> None:
    """Run the stage."""
    args = _arguments()

    def rows() -> dict[str, Iterator[Row]]:
        return {source.name: read_source(source, args.seed, default_cache()) for source in args.sources}

    pool, unusable = to_examples(rows(), {source.name: source.format for source in args.sources})
    read = dict(pl.concat([pool["source"], unusable["source"]]).value_counts().iter_rows())
    pool, repeated = deduplicated(pool)
    pool, heldout = split(pool, args.heldout, args.seed)
    # A corruption may make an example equal to another one, so what is equal is dropped once more.
    pool, collided = deduplicated(corrupt(pool, args.corrupt, args.corruptions, args.seed))
    rejected = with_content(pl.concat([unusable, repeated, collided]), rows())

    for path, frame in (
        (args.pool, pool.select(COLUMNS)),
        (args.heldout_out, heldout.select(COLUMNS)),
        (args.rejected, rejected),
    ):
        with atomic_write(path) as part:
            write_blocks(blocks_of(frame, ROW_GROUP), part)

    print("read:", ", ".join(f"{source.name} {read[source.name]}" for source in args.sources))
    print(f"pool: {len(pool)}, held out: {len(heldout)}, rejected: {len(rejected)}")
    kinds = pool["corruption"].value_counts(sort=True)
    print("pool by corruption:", ", ".join(f"{kind} {count}" for kind, count in kinds.iter_rows()))
    for reason, count in frequent_reasons(rejected["reason"].to_list(), most=10):
        print(f"rejected {count} x {reason}")


if __name__ == "__main__":
    run(main)
