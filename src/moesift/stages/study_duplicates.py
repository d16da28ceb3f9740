"""Copy examples of a pool, exactly and nearly, and count the copies that the search for near-duplicates finds."""

import argparse
import json
from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.data.corruption import CLEAN
from moesift.data.pool import texts
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.study.duplicates import found


def main() -> None:
    """Read a case's pool, write one row a kind of copy and a threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    flags.add(parser, config.Study, "duplicates")
    args = parser.parse_args()

    pool = pl.read_parquet(args.pool, columns=["messages", "corruption"]).filter(pl.col("corruption") == CLEAN)
    rows = found(texts(pool), args.duplicates, args.seed)
    with whole(args.out) as part:
        part.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{pool.height} clean examples, {len(rows)} rows")


if __name__ == "__main__":
    run(main)
