"""Put what was measured together: tidy tables, one JSON, and one page that shows them."""

import json
from pathlib import Path

import polars as pl

from moesift import flags
from moesift.errors import UserError
from moesift.files import atomic_write
from moesift.report import results as made
from moesift.report.examples import of_rankings
from moesift.report.page import plots, rendered

INT, FLOAT, TEXT = pl.Int64, pl.Float64, pl.String
KEEP_SHARES = {"seed": INT, "state": TEXT, "layer": INT, "low": FLOAT, "median": FLOAT, "high": FLOAT}


def main(
    evaluations: list[Path],
    pool: flags.Parquet,
    rejected: flags.Parquet,
    scores: list[flags.Parquet],
    selections: list[flags.Parquet],
    routing: list[flags.Parquet],
    curves: list[Path],
    benchmarks: Path,
    config: str,
    methods: str,
    results: Path,
    tables: Path,
    page: Path,
) -> None:
    """Read what the other stages measured, write the tables, the JSON and the page.

    Args:
        evaluations: JSON of `evaluate`, each beside its parquet, that of the untuned target included.
        pool: parquet of the pool.
        rejected: parquet of the rows that became no example.
        scores: .../{method}/seed-{seed}.parquet.
        selections: .../{method}/{budget}/seed-{seed}.parquet, each beside its .dropped.parquet.
        routing: .../seed-{seed}/epoch-{n}/routing.parquet.
        curves: .../seed-{seed}/epoch-{n}.jsonl of the warm-up.
        benchmarks: folder of Snakemake's records of the jobs.
        config: the resolved configuration as JSON.
        methods: JSON: what is said of each method, in order.
        results: JSON to write.
        tables: folder of parquet files to write.
        page: HTML to write.
    """
    configured, described = json.loads(config), json.loads(methods)
    measured = [json.loads(path.read_text()) for path in evaluations]
    questions = pl.concat(
        of_run(pl.read_parquet(path.with_suffix(".parquet")), one["method"], one["budget"], one["seed"])
        for path, one in zip(evaluations, measured, strict=True)
    )
    examples = pl.read_parquet(pool)
    scored = pl.concat(
        of_run(
            pl.read_parquet(path, columns=["id", "score", "n_tokens", "reason"]), path.parent.name, None, seed_of(path)
        )
        for path in scores
    )
    kept = pl.concat(selected(path, path).select("method", "budget", "seed", "id") for path in selections)
    dropped = pl.concat(selected(path, path.with_suffix(".dropped.parquet")) for path in selections)
    warmup = [pl.read_ndjson(path).with_columns(seed=pl.lit(seed_of(path.parent), INT)) for path in curves]
    shares = pl.concat([pl.DataFrame(schema=KEEP_SHARES), *map(keep_shares, routing)])
    jobs = pl.concat([pl.DataFrame(schema=made.RECORD), *map(record, sorted(benchmarks.rglob("*.tsv")))])

    seeds, labels = configured["seeds"], [method["label"] for method in described]
    frames = made.tables(measured, questions, examples, scored, kept, shares, described, seeds)
    reasons = pl.read_parquet(rejected, columns=["source", "reason"])
    numbers = made.results(frames, measured, examples, reasons, scored, dropped, described, configured)
    first = [frame.filter(pl.col("seed") == min(seeds)) for frame in (scored, kept)]
    drawn = plots(frames, numbers, examples, *first, pl.concat(warmup) if warmup else None)
    html = rendered(numbers, drawn, of_rankings(*first, examples, labels), made.durations(jobs).to_dicts())

    with atomic_write(tables) as part:
        part.mkdir()
        for name, frame in frames.items():
            frame.write_parquet(part / f"{name}.parquet")
    with atomic_write(results) as part:
        part.write_text(json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    with atomic_write(page) as part:
        part.write_text(html)
    print(page)


def of_run(frame: pl.DataFrame, method: str, budget: str | None, seed: int | None) -> pl.DataFrame:
    """Return a frame with the columns that name its run."""
    return frame.with_columns(method=pl.lit(method), budget=pl.lit(budget, TEXT), seed=pl.lit(seed, INT))


def selected(selection: Path, file: Path) -> pl.DataFrame:
    """Read a file of a selection, with the method, budget and seed of the selection's path."""
    columns = pl.scan_parquet(file).select(pl.col("^(id|score|reason)$")).collect()
    return of_run(columns, selection.parent.parent.name, selection.parent.name, seed_of(selection))


def keep_shares(path: Path) -> pl.DataFrame:
    """Read the routing pass of one epoch of a warm-up, epoch 0 being untrained."""
    shares = made.layer_shares(pl.read_parquet(path, columns=["log_odds"])["log_odds"])
    state = "untrained" if path.parent.name == "epoch-0" else "warmed"
    return shares.select(pl.lit(seed_of(path.parent.parent), INT).alias("seed"), pl.lit(state).alias("state"), pl.all())


def record(path: Path) -> pl.DataFrame:
    """Read Snakemake's record of a job: one row, without quotes, and without some columns where it is not extended."""
    read = pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False, null_values=["NA", "-"])
    return read.select(
        (pl.col(name).cast(of) if name in read.columns else pl.lit(None, of).alias(name))
        for name, of in made.RECORD.items()
    )


def seed_of(path: Path) -> int:
    """Return the seed in the name of a file or folder.

    Raises:
        UserError: there is none.
    """
    prefix, _, number = path.name.removesuffix(".parquet").partition("-")
    if prefix != "seed" or not number.isdecimal():
        raise UserError(f"{path}: expected a name such as seed-0")
    return int(number)


if __name__ == "__main__":
    flags.run(main)
