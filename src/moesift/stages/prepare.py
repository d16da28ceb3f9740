"""Prepare: rows of any instruction format -> the pool, the held-out examples and the rejected rows."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from polars import selectors

from moesift import config, flags
from moesift.data.blocks import blocks_of, rows_of, write_blocks
from moesift.data.corruption import corrupt
from moesift.data.groups import linked_groups
from moesift.data.pool import (
    APART,
    COLUMNS,
    DUPLICATE,
    MESSAGES,
    PLAIN,
    ROW_GROUP,
    Place,
    as_rejected,
    conversations,
    deduplicated,
    held_out,
    messages_type,
    read_examples,
    refused,
    rejections,
    with_ids,
)
from moesift.data.scores import require_scores
from moesift.data.sources import read_source
from moesift.demo.wheel import default_cache
from moesift.files import atomic_write
from moesift.passes.columns import BROUGHT


def main(data: config.Data, pool: Path, heldout: Path, rejected: Path) -> None:
    """Read the sources, write three files in which every row is accounted for.

    What is in memory of an example that is not corrupted is numbers; its text is on the disk.

    Args:
        data: all keys but max_length.
        pool: parquet of the pool to write.
        heldout: parquet of the held-out examples to write.
        rejected: parquet to write of the rejected rows, with reasons.
    """
    rows = {source.name: read_source(source, data.seed, default_cache()) for source in data.sources}
    formats, ignored, scores = (
        {source.name: getattr(source, key) for source in data.sources} for key in ("format", "ignore", "scores")
    )
    with atomic_write(pool) as part:
        stored, unusable = part.with_name("examples.parquet"), list[Place]()
        ids, kind = store(read_examples(rows, unusable, formats, ignored, scores), stored)
        examples = pl.scan_parquet(stored)
        require_scores(examples, scores)
        read = Counter(source for source, *_ in unusable)
        read.update(dict(examples.group_by("source").len().collect().iter_rows()))

        def blocks(wanted: np.ndarray) -> Iterator[pl.DataFrame]:
            return (block.cast({"messages": kind}) for block in rows_of(stored, wanted, ROW_GROUP))

        distinct = ids.is_first_distinct().to_numpy()  # (N,)
        groups = linked_groups(turns for block in blocks(distinct) for turns in conversations(block))
        held, apart = np.zeros((2, len(ids)), bool)
        held[distinct], apart[distinct] = held_out(groups, data.heldout, data.seed)
        pooled = blocks(distinct & ~held & ~apart)
        reasons = ((~distinct, DUPLICATE), (apart, pl.lit(APART)))
        rejects = [as_rejected(unusable), *(refused(b, why) for wanted, why in reasons for b in blocks(wanted))]
        if data.corrupt:
            corrupted = corrupt(pl.concat(pooled), data.corrupt, data.corruptions, data.seed)
            whole, collisions = deduplicated(corrupted)  # a corruption may make an example equal to another one
            pooled, rejects = blocks_of(whole, ROW_GROUP), [*rejects, collisions]
        unpooled = pl.concat(rejects)

        with atomic_write(heldout) as other:
            write_blocks((block.select(COLUMNS) for block in blocks(held)), other)
        with atomic_write(rejected) as other:
            write_blocks(blocks_of(unpooled, ROW_GROUP), other)
        write_blocks((block.select(*COLUMNS, selectors.starts_with(BROUGHT)) for block in pooled), part)
        kinds = pl.scan_parquet(part).group_by("corruption").len().sort("len", descending=True).collect()

    print("read:", ", ".join(f"{source.name} {read[source.name]}" for source in data.sources))
    print(f"pool: {kinds['len'].sum()}, held out: {held.sum()}, rejected: {len(unpooled)}")
    print("pool by corruption:", ", ".join(f"{kind} {count}" for kind, count in kinds.iter_rows()))
    for line in rejections(unpooled["reason"]):
        print(line)


def store(examples: Iterator[pl.DataFrame], path: Path) -> tuple[pl.Series, pl.DataType]:
    """Write examples with their ids to a file; return the ids as numbers, (N,), and the type that messages need."""
    ids, kinds = [], set[pl.DataType]()

    def noted() -> Iterator[pl.DataFrame]:
        for block in examples:
            block = with_ids(block)
            ids.append(block["id"].str.to_integer(base=16, dtype=pl.UInt64))
            kinds.add(messages_type(block))
            yield block

    write_blocks(noted(), path)
    return pl.concat(ids), MESSAGES if MESSAGES in kinds else PLAIN


if __name__ == "__main__":
    flags.run(main)
