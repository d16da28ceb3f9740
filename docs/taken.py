"""Print what a targeted method took, by source and beside its queries: taken.py results/{experiment} {method}.

Of several budgets it is the first by name.
"""

import sys
from pathlib import Path

import polars as pl

experiment, method = sys.argv[1:]
budgets = sorted(Path(experiment).glob(f"selected/{method}/*/seed-0.parquet"))
taken = pl.read_parquet(budgets[0])
print("; ".join(f"{source} {count}" for source, count in taken["source"].value_counts(sort=True).iter_rows()))
if "query" in taken.columns and taken["query"].null_count() < taken.height:
    queries = pl.concat(pl.read_parquet(path) for path in Path(experiment).glob("targets/*/queries.parquet"))
    asked = dict(queries.select("id", pl.col("messages").list.first().struct.field("content")).iter_rows())
    for row in taken.head(5).iter_rows(named=True):
        print(f"{row['score']:.3f}  {asked[row['query']]}\n       {row['messages'][0]['content']}")
