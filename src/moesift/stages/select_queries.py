"""Keep the queries of all targets, and nothing of the pool: what targeted selection has to be compared with."""

from pathlib import Path

import polars as pl

from moesift import flags
from moesift.data.targets import selected
from moesift.files import atomic_write


def main(queries: list[flags.Parquet], out: Path, dropped: Path, most: int | None = None) -> None:
    """Read the queries, write them as a selection, from which nothing was dropped.

    Args:
        queries: parquet of the queries of each target.
        out: parquet of the selection to write.
        dropped: parquet to write, without a row.
        most: queries of each target that are kept; without it all.
    """
    selection = selected(map(pl.read_parquet, queries), most)
    with atomic_write(out) as part:
        selection.write_parquet(part)
    with atomic_write(dropped) as part:
        pl.DataFrame(schema={"id": pl.String, "score": pl.Float64, "reason": pl.String}).write_parquet(part)
    print(f"{selection.height} queries")


if __name__ == "__main__":
    flags.run(main)
