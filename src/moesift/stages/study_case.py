"""Put together what is known of each example of a case: its labels, its scores, and what a supervised probe says."""

import argparse
from pathlib import Path

import numpy as np
import polars as pl
import torch

from moesift.data.corruption import CLEAN, applicable_kinds
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.study.probe import held_out

HARD = 0.2  # share of a source's clean examples, at either end of the reference model's loss, that is hard or easy


def main() -> None:
    """Read the pool, the scores and the routers' inputs, write one row an example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--scores", type=parquet, nargs="+", required=True, help=".../{method}.parquet")
    parser.add_argument(
        "--inputs", nargs=2, metavar=("PARQUET", "COLUMN"), required=True, help="the mean inputs of the routers"
    )
    parser.add_argument(
        "--reference", type=parquet, required=True, help="parquet with the loss of another model, in nats"
    )
    parser.add_argument("--kinds", nargs="+", required=True, help="of corruption, that the pool may hold")
    parser.add_argument("--control", required=True, help="the one of them that does no harm to the response")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="parquet with one row an example")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    pool = pl.read_parquet(args.pool)
    judged = [*args.kinds, args.control]
    examples = pool.select(
        "id",
        "source",
        "severity",
        kind="corruption",
        applicable=pl.Series(applicable_kinds(pool, judged), dtype=pl.List(pl.String)),
    )
    reference = pl.read_parquet(args.reference).select("id", "n_tokens", surprise=pl.col("nats") / pl.col("n_tokens"))
    examples = examples.join(reference, on="id", how="left", validate="1:1", maintain_order="left")
    examples = examples.with_columns(control=control()).drop("surprise")
    for path in args.scores:
        scores = pl.read_parquet(path).select("id", pl.col("score").alias(path.stem), pl.col("layer_scores"))
        if path.stem != "router":
            scores = scores.drop("layer_scores")
        examples = examples.join(scores, on="id", how="left", validate="1:1", maintain_order="left")

    file, column = args.inputs
    inputs = pl.read_parquet(file, columns=["id", column])
    measured = examples.select("id").join(inputs, on="id", how="left", validate="1:1", maintain_order="left")[column]
    usable = measured.is_not_null().to_numpy()
    features = np.array(measured.drop_nulls().to_list(), dtype=np.float32)  # (N, L * D)
    kinds, sources = (np.array(examples[column].to_list()) for column in ("kind", "source"))
    corrupted = (kinds != CLEAN)[usable]

    def probed(trained: np.ndarray) -> np.ndarray:
        """Return the probe's log odds of every example, (N,), nan where it has no features."""
        found = np.full(len(examples), np.nan)
        found[usable] = held_out(features, corrupted, trained[usable], args.seed)
        return found

    known = kinds != args.control  # which does no harm to the response, and is no label to learn
    by_kind = np.column_stack([probed(known & (kinds != kind)) for kind in judged])  # (N, kinds + 1)
    by_source = np.full(len(examples), np.nan)
    for source in np.unique(sources):
        by_source[sources == source] = probed(known & (sources != source))[sources == source]
    examples = examples.with_columns(
        pl.Series("probe_kind", by_kind.tolist(), dtype=pl.List(pl.Float64)),
        pl.Series("probe_source", by_source, dtype=pl.Float64, nan_to_null=True),
    )
    with whole(args.out) as part:
        examples.write_parquet(part)
    print(f"{examples.height} examples, {corrupted.sum()} corrupted, {len(args.scores)} methods")


def control() -> pl.Expr:
    """Say which clean examples are hard and which easy: the ends of their source by the reference model's loss."""
    clean = pl.when(pl.col("kind") == CLEAN).then(pl.col("surprise"))
    place = clean.rank().over("source") / clean.count().over("source")
    return pl.when(place <= HARD).then(pl.lit("easy")).when(place > 1 - HARD).then(pl.lit("hard"))


if __name__ == "__main__":
    run(main)
