"""Merge the shards of a measurement: every example of the pool once, in the order of the pool."""

import argparse
from pathlib import Path

import polars as pl

from moesift.data.blocks import write_blocks
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.scoring.shards import CHUNK, merged


def main() -> None:
    """Read the shards and the pool, write the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, required=True, help="folder with 1-of-8.parquet, 2-of-8.parquet, ...")
    parser.add_argument("--of", type=int, required=True, help="how many")
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    shards = [parquet(args.shards / f"{shard}-of-{args.of}.parquet") for shard in range(1, args.of + 1)]
    with whole(args.out) as part:
        write_blocks(merged(shards, args.pool, CHUNK), part)
    counts = pl.scan_parquet(args.out).select(all=pl.len(), without=(pl.col("n_tokens") == 0).sum())
    examples, without = counts.collect(engine="streaming").row(0)
    print(f"{examples} examples, {without} without a response token")


if __name__ == "__main__":
    run(main)
