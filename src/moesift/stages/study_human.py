"""Count how often each score prefers what an expert has revised."""

import argparse
import json
from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.study.human import SIDES, agreement


def main() -> None:
    """Read the pairs and their scores, write the agreement of each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=parquet, required=True, help="parquet by stages/study_pairs.py")
    parser.add_argument("--scores", type=parquet, nargs="+", required=True, help=".../{method}.parquet")
    parser.add_argument("--out", type=Path, required=True, help="JSON")
    flags.add(parser, config.Study, "resamples")
    args = parser.parse_args()

    side = pl.col("id").str.split("-").list.last()
    pool = pl.read_parquet(args.pool, columns=["id", "source_index"]).with_columns(side=side)
    rows = []
    for path in args.scores:
        scored = pool.join(pl.read_parquet(path, columns=["id", "score"]), on="id", how="left", validate="1:1")
        by_pair = scored.pivot(on="side", index="source_index", values="score")
        raw, revised = (by_pair[side].cast(pl.Float64).fill_null(float("nan")).to_numpy() for side in SIDES)
        found = agreement(raw, revised, args.resamples)
        rows.append({"method": path.stem, "agreement": found and found._asdict()})
    made = {"pairs": pool["source_index"].n_unique(), "methods": rows}
    with whole(args.out) as part:
        part.write_text(json.dumps(made, indent=2, allow_nan=False) + "\n")
    print(f"{made['pairs']} pairs, {len(rows)} methods")


if __name__ == "__main__":
    run(main)
