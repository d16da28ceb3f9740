"""The shards of a measurement, put together in the order of the pool."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from moesift.errors import UserError

# Fewest and most examples of a chunk, and how many chunks a pool between them is cut into.
FEWEST, MOST, CHUNKS = 1024, 8192, 64

# What is put in order at once: so many rows, or fewer where they are long, as those of gradients are.
BLOCK, BYTES = 1_000_000, 2**28


def chunk_of(examples: int) -> int:
    """Return how many consecutive examples of a pool are batched among themselves.

    Shards take whole chunks, so that the batch that an example is measured in, and with it the last digit, does not
    depend on the number of shards. The more there are to choose from, the more alike are the lengths in a batch: on a
    GPU 17% of what is computed is padding with 1,024, and 3% with 8,192.
    """
    return min(MOST, max(FEWEST, examples // CHUNKS))


def merged(shards: Sequence[Path], pool: Path, block: int = BLOCK) -> Iterator[pl.DataFrame]:
    """Yield the rows of all shards in the order of the pool, block by block, each of its examples once.

    Shards take chunks of the pool by turns, so that the next rows of a block are the next ones of each shard.

    Args:
        shards: parquet files with the column id, and any more; of n shards the first has the chunks 0, n, 2n, ...
        pool: parquet with the column id, each once.
        block: rows that are in memory at once, more or less.

    Raises:
        UserError: ids are missing, repeated or unknown; the message names the first few.
    """
    scans = [pl.scan_parquet(shard) for shard in shards]
    ids = pl.scan_parquet(pool).select("id")
    height = ids.select(pl.len()).collect().item()
    chunk = chunk_of(height)
    fitting = BYTES * height // max(1, sum(shard.stat().st_size for shard in shards))  # rows
    turns = max(1, min(block, fitting) // (chunk * len(scans)))  # chunks of each shard that make a block
    row = pl.int_range(pl.len())
    for start in range(0, max(1, height), turns * chunk * len(scans)):
        taken = start // len(scans)  # rows that were taken of each shard
        parts = [
            scan.slice(taken, turns * chunk)
            .with_columns(place=row // chunk * chunk * len(scans) + number * chunk + row % chunk)
            .collect()
            for number, scan in enumerate(scans)
        ]
        found = pl.concat(parts).sort("place").drop("place")
        if not found["id"].equals(ids.slice(start, turns * chunk * len(scans)).collect()["id"]):
            raise _not_the_pool(scans, ids)
        yield found
    if sum(scan.select(pl.len()).collect().item() for scan in scans) != height:
        raise _not_the_pool(scans, ids)


def _not_the_pool(scans: Sequence[pl.LazyFrame], ids: pl.LazyFrame) -> UserError:
    """Say which ids are missing, repeated or unknown."""
    rows = pl.concat([scan.select("id") for scan in scans])
    problems = {
        "missing": ids.join(rows, on="id", how="anti", maintain_order="left"),
        "there more than once": rows.filter(pl.col("id").is_duplicated()).unique().sort("id"),
        "not in the pool": rows.join(ids, on="id", how="anti", maintain_order="left"),
    }
    for problem, found in problems.items():
        names = found.collect()["id"]
        if len(names):
            return UserError(
                f"the shards do not make the pool: {len(names)} ids are {problem}: {names.head(5).to_list()}"
            )
    return UserError("the shards do not make the pool: they are not in its order; were they made by as many shards?")
