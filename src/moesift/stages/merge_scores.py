"""Merge the shards of a scoring: every example of the pool once, best first."""

import argparse
from pathlib import Path

import polars as pl

from moesift.errors import run
from moesift.selection import merged


def main() -> None:
    """Read the shards and the pool, write the scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="parquet of each shard's scores")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    pool = pl.read_parquet(args.pool, columns=["id"])
    scores = merged([pl.read_parquet(shard) for shard in args.shards], pool["id"])
    scores.write_parquet(args.out)
    print(f"{scores.height} examples, {scores['score'].null_count()} without a score")


if __name__ == "__main__":
    run(main)
