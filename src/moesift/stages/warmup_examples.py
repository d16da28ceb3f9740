"""Draw the examples of the pool that the warm-up of a seed trains on, the same ones in every epoch."""

from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.files import atomic_write


def main(pool: flags.Parquet, out: Path, seed: int, warmup: config.Warmup) -> None:
    """Read the pool, write for each of its examples whether it is drawn, and as which.

    Args:
        pool: parquet of the pool.
        out: parquet to write: id, in_warmup and place, from 0 in the order of the draw, null where it is not drawn.
        seed: of the draw.
        warmup: key examples.
    """
    ids = pl.read_parquet(pool, columns=["id"])
    drawn = ids if warmup.examples is None or warmup.examples >= ids.height else ids.sample(warmup.examples, seed=seed)
    placed = drawn.with_columns(place=pl.int_range(pl.len(), dtype=pl.Int64))
    table = ids.join(placed, on="id", how="left", maintain_order="left")
    with atomic_write(out) as part:
        table.select("id", pl.col("place").is_not_null().alias("in_warmup"), "place").write_parquet(part)
    print(f"{drawn.height} of {ids.height} examples")


if __name__ == "__main__":
    flags.run(main)
