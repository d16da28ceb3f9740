"""Keep the best part of the pool by score, with the text that training reads, and say what was left out and why."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from moesift import config, flags
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.scoring.diversity import k_centre
from moesift.scoring.selection import below_top, distinct, drawn, keep, quotas, ranked, require, without


def main() -> None:
    """Read scores and pool, write the selection and what was dropped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=parquet, required=True)
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--ratio", type=float, required=True, help="share of the pool to keep")
    parser.add_argument("--contaminated", type=parquet, help="parquet of `contaminated`, whose examples are dropped")
    parser.add_argument("--near-duplicates", type=parquet, help="parquet of `near_duplicates`, to keep the best")
    parser.add_argument("--usage", type=parquet, help="parquet with how each example uses the experts, for diversity")
    parser.add_argument("--out", type=Path, required=True, help="parquet of the selection")
    parser.add_argument("--dropped", type=Path, required=True, help="parquet of what was left out, with the reason")
    parser.add_argument("--seed", type=int, required=True, help="of what is drawn at random")
    flags.add(parser, config.Select, "format", "drop_top", "quota", "reject", "diversity")
    args = parser.parse_args()

    pool = pl.read_parquet(args.pool, columns=["id", "source", "source_index", "messages"])
    # Of the whole pool, so that every method keeps equally many, whatever it cannot score.
    count = max(1, round(args.ratio * pool.height))
    sifted = ranked(pl.read_parquet(args.scores))
    if args.contaminated is not None:
        reason = pl.format("shares a run of words with question {} of {}: {}", "question", "task", "run")
        sifted = without(sifted, pl.read_parquet(args.contaminated).select("id", reason=reason))
    sifted = below_top(sifted, args.drop_top)
    if args.near_duplicates is not None:
        sifted = distinct(sifted, pl.read_parquet(args.near_duplicates))
    all_of = dict(pool["source"].value_counts().iter_rows())
    if args.reject is not None:
        sifted = drawn(sifted, all_of, args.reject, args.seed)
    require(sifted, count)
    by_source = None
    if args.quota is not None:
        left = dict(sifted.ranking["source"].value_counts().iter_rows())
        by_source = quotas(left, all_of, count, args.quota)
    spread = None
    if args.diversity is not None:
        usage = pl.read_parquet(args.usage, columns=["id", "usage"]).drop_nulls()
        spread = (args.diversity, lambda ids, number: k_centre(_embeddings(usage, ids), number))
    best, dropped = keep(sifted, count, by_source, spread)

    selection = best.join(pool, on="id", how="left", validate="1:1", maintain_order="left")
    for path, frame in ((args.out, selection), (args.dropped, dropped)):
        with whole(path) as part:
            frame.write_parquet(part)
    if args.format == "jsonl":
        with whole(args.out.with_suffix(".jsonl")) as part:
            selection.write_ndjson(part)
    print(f"{count} of {pool.height} examples kept, scores {best['score'].max():.4g} to {best['score'].min():.4g}")
    print(f"{dropped.height} left out for another reason than their rank")


def _embeddings(usage: pl.DataFrame, ids: Sequence[str]) -> np.ndarray:
    """Return the usage of some examples, (ids, layers * experts) float32, without a Python number for each."""
    of_ids = pl.DataFrame({"id": ids}, {"id": pl.String}).join(usage, on="id", maintain_order="left")
    return of_ids["usage"].list.to_array(len(usage["usage"][0])).to_numpy()


if __name__ == "__main__":
    run(main)
