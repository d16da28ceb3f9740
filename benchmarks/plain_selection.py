"""The code that one would write first to keep the likeliest examples of a pool.

python -m benchmarks.plain_selection FOLDER SHARDS RATIO
"""

import sys
from pathlib import Path

import polars as pl


def main() -> None:
    """Read all shards and the whole pool, join, sort, keep."""
    folder, shards, ratio = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    pool = pl.read_parquet(folder / "pool.parquet")
    passes = pl.concat([pl.read_parquet(folder / f"{shard}-of-{shards}.parquet") for shard in range(1, shards + 1)])
    scored = passes.select("id", score=-pl.col("nll") / pl.col("n_tokens"))
    ranked = pool.join(scored, on="id").sort("score", "id", descending=[True, False], nulls_last=True)
    ranked.head(round(ratio * pool.height)).write_parquet(folder / "plain.parquet")


if __name__ == "__main__":
    main()
