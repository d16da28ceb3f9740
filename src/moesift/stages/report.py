"""Put what was measured together: the numbers as JSON, and one page that shows them."""

import argparse
import json
from pathlib import Path

import polars as pl

from moesift.errors import UserError, run
from moesift.files import atomic_write, parquet
from moesift.report import durations, keep_shares
from moesift.report.examples import of_rankings
from moesift.report.page import page, plots
from moesift.report.results import compare, results


def main() -> None:
    """Read what the other stages measured, write results.json and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--evaluations", type=Path, nargs="+", required=True, help="JSON of `evaluate`, beside its parquet"
    )
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--rejected", type=parquet, required=True)
    parser.add_argument("--scores", type=parquet, nargs="+", required=True, help=".../{method}/seed-{seed}.parquet")
    parser.add_argument(
        "--selections", type=parquet, nargs="+", required=True, help=".../{method}/ratio-{r}/seed-{s}.parquet"
    )
    parser.add_argument("--curves", type=Path, nargs="*", required=True, help=".../seed-{seed}/epoch-{n}.jsonl")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of Snakemake's records of the jobs")
    parser.add_argument("--config", type=json.loads, required=True, help="the resolved configuration as JSON")
    parser.add_argument("--results", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--page", type=Path, required=True, help="HTML file to write")
    args = parser.parse_args()

    evaluations = [json.loads(path.read_text()) for path in args.evaluations]
    questions = pl.concat(
        pl.read_parquet(path.with_suffix(".parquet")).with_columns(
            method=pl.lit(evaluation["method"]),
            ratio=pl.lit(evaluation["ratio"], pl.Float64),
            seed=pl.lit(evaluation["seed"], pl.Int64),
        )
        for path, evaluation in zip(args.evaluations, evaluations, strict=True)
    )
    pool = pl.read_parquet(args.pool)
    scores = pl.concat(
        pl.read_parquet(path, columns=["id", "score", "reason"]).with_columns(
            method=pl.lit(path.parent.name), seed=pl.lit(_seed(path.stem), pl.Int64)
        )
        for path in args.scores
    )
    curves = [pl.read_ndjson(path).with_columns(seed=pl.lit(_seed(path.parent.name), pl.Int64)) for path in args.curves]

    selections = pl.concat(_selected(path, path) for path in args.selections)
    dropped = pl.concat(_selected(path, path.with_suffix(".dropped.parquet")) for path in args.selections)

    kept_by_layer = pl.concat(
        keep_shares.by_layer(pl.read_parquet(path, columns=["layer_scores"])["layer_scores"]).select(
            pl.lit(path.parent.name).alias("method"), pl.lit(_seed(path.stem), pl.Int64).alias("seed"), pl.all()
        )
        for path in args.scores
    )
    jobs = pl.concat([pl.DataFrame(schema=durations.RECORD), *map(_record, sorted(args.benchmarks.rglob("*.tsv")))])

    comparison = compare(args.config["methods"], evaluations, questions, pool, scores, selections)
    rejected = pl.read_parquet(args.rejected, columns=["source", "reason"])
    numbers = results(comparison, args.config, evaluations, pool, rejected, scores, dropped, kept_by_layer)
    of_first = pl.col("seed") == min(args.config["seeds"])
    first = scores.filter(of_first), selections.filter(of_first)
    every_curve = pl.concat(curves) if curves else None
    drawn = plots(comparison, args.config, pool, *first, every_curve, kept_by_layer)
    shown = of_rankings(*first, pool, args.config["methods"])
    took = durations.by_rule(jobs).to_dicts()
    with atomic_write(args.results) as part:
        part.write_text(json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    with atomic_write(args.page) as part:
        part.write_text(page(numbers, drawn, shown, took))
    print(args.page)


def _selected(selection: Path, file: Path) -> pl.DataFrame:
    """Read a file of a selection, with the method, ratio and seed that the path of the selection tells."""
    ratio = selection.parent.name.removeprefix("ratio-")
    return pl.read_parquet(file).select(
        pl.lit(selection.parent.parent.name).alias("method"),
        pl.lit(float(ratio)).alias("ratio"),
        pl.lit(_seed(selection.stem), pl.Int64).alias("seed"),
        pl.col("^(id|score|reason)$"),
    )


def _record(path: Path) -> pl.DataFrame:
    """Read Snakemake's record of a job: one row, without quotes, and without some columns where it is not extended."""
    read = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False, null_values=["NA", "-"])
    return read.select(
        (pl.col(name).cast(of) if name in read.columns else pl.lit(None, of).alias(name))
        for name, of in durations.RECORD.items()
    )


def _seed(name: str) -> int:
    prefix, _, number = name.partition("-")
    if prefix != "seed" or not number.isdecimal():
        raise UserError(f"{name}: expected seed- and a number")
    return int(number)


if __name__ == "__main__":
    run(main)
