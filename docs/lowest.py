"""Print the examples that a method scores lowest: python docs/lowest.py results/{experiment} {method} {how many}."""

import sys

import polars as pl

experiment, method, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
scores = pl.read_parquet(f"{experiment}/scores/{method}/seed-0.parquet", columns=["id", "score"])
pool = pl.read_parquet(f"{experiment}/data/pool.parquet", columns=["id", "messages"])
lowest = scores.drop_nulls().sort("score").head(count).join(pool, on="id", maintain_order="left")
for row in lowest.iter_rows(named=True):
    print(f"{row['score']:8.3f}  {row['messages'][-1]['content']}")
