"""Score the whole pool with a baseline that needs no model."""

import argparse
from pathlib import Path

import polars as pl

from moesift import baselines, config, flags, scores
from moesift.chat import encode
from moesift.errors import run
from moesift.models import load_tokenizer


def main() -> None:
    """Read the pool, write its scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=["random", "length"], required=True)
    parser.add_argument("--tokenizer", required=True, help="the selector, whose tokens are counted")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    flags.add(parser, config.Data, "max_length")
    args = parser.parse_args()

    pool = pl.read_parquet(args.pool, columns=["id", "source", "messages"])
    examples = encode(pool["messages"].to_list(), load_tokenizer(args.tokenizer), args.max_length)
    lengths = baselines.length_scores(examples)
    values = lengths if args.method == "length" else baselines.random_scores(pool.height, args.seed)
    rows = [scores.row(value, int(length)) for value, length in zip(values, lengths, strict=True)]
    scores.table(pool, rows).write_parquet(args.out)
    print(f"{pool.height} examples scored by {args.method}")


if __name__ == "__main__":
    run(main)
