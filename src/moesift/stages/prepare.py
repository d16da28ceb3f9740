"""Prepare: rows of any instruction format -> the pool, the held-out examples and the rejected rows."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars import selectors

from moesift import config, flags
from moesift.data.blocks import blocks_of, write_blocks
from moesift.data.corruption import corrupt
from moesift.data.pool import COLUMNS, ROW_GROUP, deduplicated, frequent_reasons, split, to_examples, with_content
from moesift.data.rows import Row
from moesift.data.scores import require_scores
from moesift.data.sources import read_source
from moesift.demo.wheel import default_cache
from moesift.files import atomic_write
from moesift.passes.columns import BROUGHT


def main(data: config.Data, pool: Path, heldout: Path, rejected: Path) -> None:
    """Read the sources, write three files in which every row is accounted for.

    Args:
        data: all keys but max_length.
        pool: parquet of the pool to write.
        heldout: parquet of the held-out examples to write.
        rejected: parquet to write of the rejected rows, with reasons.
    """

    def rows() -> dict[str, Iterator[Row]]:
        return {source.name: read_source(source, data.seed, default_cache()) for source in data.sources}

    formats, ignored, scores = (
        {source.name: getattr(source, key) for source in data.sources} for key in ("format", "ignore", "scores")
    )
    examples, unusable = to_examples(rows(), formats, ignored, scores)
    require_scores(examples, scores)
    read = dict(pl.concat([examples["source"], unusable["source"]]).value_counts().iter_rows())
    examples, duplicates = deduplicated(examples)
    examples, held_out, apart = split(examples, data.heldout, data.seed)
    # A corruption may make an example equal to another one.
    examples, collisions = deduplicated(corrupt(examples, data.corrupt, data.corruptions, data.seed))
    refused = with_content(pl.concat([unusable, duplicates, apart, collisions]), rows())

    pooled = examples.select(*COLUMNS, selectors.starts_with(BROUGHT))
    for path, frame in ((pool, pooled), (heldout, held_out.select(COLUMNS)), (rejected, refused)):
        with atomic_write(path) as part:
            write_blocks(blocks_of(frame, ROW_GROUP), part)

    print("read:", ", ".join(f"{source.name} {read[source.name]}" for source in data.sources))
    print(f"pool: {len(examples)}, held out: {len(held_out)}, rejected: {len(refused)}")
    kinds = examples["corruption"].value_counts(sort=True)
    print("pool by corruption:", ", ".join(f"{kind} {count}" for kind, count in kinds.iter_rows()))
    for reason, count in frequent_reasons(refused["reason"].to_list(), most=10):
        print(f"rejected {count} x {reason}")


if __name__ == "__main__":
    flags.run(main)
