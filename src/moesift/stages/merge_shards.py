"""Merge the shards of a measurement: every example of the pool once, in the order of the pool."""

import argparse
from pathlib import Path

import polars as pl

from moesift.errors import run
from moesift.files import parquet, whole
from moesift.scoring.shards import merged


def main() -> None:
    """Read the shards and the pool, write the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=parquet, nargs="+", required=True, help="parquet of each shard")
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    pool = pl.read_parquet(args.pool, columns=["id"])
    found = merged([pl.read_parquet(shard) for shard in args.shards], pool["id"])
    with whole(args.out) as part:
        found.write_parquet(part)
    print(f"{found.height} examples, {found.filter(pl.col('n_tokens') == 0).height} without a response token")


if __name__ == "__main__":
    run(main)
