"""Find the near-duplicates of the pool, once for all methods."""

import argparse
from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.data.near_duplicates import near_duplicates
from moesift.data.pool import texts
from moesift.errors import run
from moesift.files import atomic_write, parquet


def main() -> None:
    """Read the pool, write the pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--out", type=Path, required=True, help="parquet of the pairs")
    flags.add(parser, config.Select, "near_duplicates")
    args = parser.parse_args()

    pool = pl.read_parquet(args.pool, columns=["id", "messages"])
    pairs = near_duplicates(pool["id"].to_list(), texts(pool), args.near_duplicates)
    with atomic_write(args.out) as part:
        pairs.write_parquet(part)
    print(f"{pairs.height} pairs of {pool.height} examples with a similarity of {args.near_duplicates:g} or more")


if __name__ == "__main__":
    run(main)
