"""Find the near-duplicates of the pool, once for all methods."""

from pathlib import Path

import polars as pl

from moesift import flags
from moesift.data.near_duplicates import near_duplicates
from moesift.data.pool import texts
from moesift.files import atomic_write


def main(pool: flags.Parquet, out: Path, threshold: float) -> None:
    """Read the pool, write the pairs.

    Args:
        pool: parquet of the pool.
        out: parquet of the pairs to write.
        threshold: Jaccard similarity of word shingles from which on two examples are near-duplicates.
    """
    examples = pl.read_parquet(pool, columns=["id", "messages"])
    pairs = near_duplicates(examples["id"].to_list(), texts(examples), threshold)
    with atomic_write(out) as part:
        pairs.write_parquet(part)
    print(f"{pairs.height} pairs of {examples.height} examples with a similarity of {threshold:g} or more")


if __name__ == "__main__":
    flags.run(main)
