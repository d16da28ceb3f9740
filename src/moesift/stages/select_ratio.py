"""Keep the best part of the pool by score, with the text that training reads."""

import argparse
from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.errors import run
from moesift.selection import keep


def main() -> None:
    """Read scores and pool, write the selection."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--ratio", type=float, required=True, help="share of the pool to keep")
    parser.add_argument("--out", type=Path, required=True, help="parquet of the selection")
    flags.add(parser, config.Select, "format")
    args = parser.parse_args()

    best = keep(pl.read_parquet(args.scores), args.ratio)
    text = pl.read_parquet(args.pool, columns=["id", "source", "source_index", "messages"])
    selection = best.join(text, on="id", how="left", validate="1:1", maintain_order="left")
    selection.write_parquet(args.out)
    if args.format == "jsonl":
        selection.write_ndjson(args.out.with_suffix(".jsonl"))
    print(
        f"{selection.height} of {text.height} examples kept, scores {best['score'][0]:.4g} to {best['score'][-1]:.4g}"
    )


if __name__ == "__main__":
    run(main)
