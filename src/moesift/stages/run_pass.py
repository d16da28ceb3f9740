"""Read one shard of the pool by one state of a model, and write what the pass gives of each example."""

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import polars as pl
import torch

from moesift import config, flags, progress
from moesift.data.blocks import write_blocks
from moesift.errors import UserError
from moesift.files import atomic_write
from moesift.models.batches import require_positions
from moesift.models.chat import Encoded, encode
from moesift.passes import reader
from moesift.passes.columns import schema
from moesift.passes.shards import chunk_of

Made = TypeVar("Made")


def main(
    pass_name: str,
    model: str,
    is_epoch: bool,
    pool: flags.Parquet,
    out: Path,
    shard: str,
    max_length: int,
    threads: int,
    token_budget: int,
    adapter: Path | None = None,
    dimension: int = 0,
    dtype: config.Dtype | None = None,
) -> None:
    """Read a model and the pool, write the columns of the pass.

    Args:
        pass_name: a module of moesift.passes.
        model: a directory or a name on the hub.
        is_epoch: the model is an epoch of the warm-up, to be read with its trash-can experts.
        pool: parquet of the pool.
        out: parquet of the shard to write.
        shard: which of how many, as 1-of-8.
        max_length: tokens an example may have.
        threads: CPU threads.
        token_budget: tokens in a batch, padding included; 0 takes what suits the device.
        adapter: checkpoint of the LoRA warm-up of the model, for passes of gradients.
        dimension: numbers that a gradient is projected to.
        dtype: precision of a model as it came; unless given, that of its files.
    """
    torch.set_num_threads(threads)
    read_pass = importlib.import_module(f"moesift.passes.{pass_name}").read
    reads = reader.load(model, pass_name, is_epoch, adapter, dimension, dtype)
    examples = pl.scan_parquet(pool).select("id", "messages", "finished")
    height = examples.select(pl.len()).collect().item()
    number, shards = map(int, shard.split("-of-"))
    chunk = chunk_of(height)
    starts = range((number - 1) * chunk, height, shards * chunk)
    sizes = [min(chunk, height - start) for start in starts]
    tokens, started = 0, time.monotonic()

    def tokenised(start: int) -> tuple[pl.Series, list[Encoded]]:
        rows = examples.slice(start, chunk).collect()
        return rows["id"], encode(rows["messages"].to_list(), reads.tokenizer, max_length, rows["finished"].to_list())

    def measured(some: Sequence[Encoded]) -> reader.Values:
        if isinstance(reads, reader.Reader):
            require_positions(reads.model, some)
        return read_pass(reads, some, token_budget)

    def rate() -> str:
        return f"{tokens / (time.monotonic() - started):,.0f} tokens/s"

    def blocks() -> Iterator[pl.DataFrame]:
        nonlocal tokens
        if not starts:
            yield pl.DataFrame(schema={"id": pl.String, **schema(pass_name)})
        coming = prefetch(tokenised, starts)
        for start, made in progress.steps(coming, sizes, pass_name, unit="examples", status=rate):
            try:
                ids, encoded = made.result()
                block = columns_of(pass_name, ids, encoded, measured)
            except Exception as error:
                ids = examples.slice(start, chunk).select("id").collect()["id"]
                where = f"rows {start} to {start + len(ids) - 1} of {pool} (ids {ids[0]} to {ids[-1]})"
                if isinstance(error, UserError):
                    raise UserError(f"{where}: {error}") from error
                error.add_note(f"in {where}")
                raise
            tokens += sum(len(example.ids) for example in encoded)
            yield block

    # A chunk is written before the next is read, so that memory does not grow with the shard.
    with atomic_write(out) as part:
        write_blocks(blocks(), part)
    print(f"{pass_name} of {sum(sizes)} examples, {tokens} tokens, {rate()}")


def prefetch(make: Callable[[int], Made], starts: Sequence[int]) -> Iterator[tuple[int, Future[Made]]]:
    """Yield each start with what is made of it, the next one in the background while the caller works on this one."""
    with ThreadPoolExecutor(max_workers=1) as background:
        coming = None
        for start in starts:
            following = start, background.submit(make, start)
            if coming is not None:
                yield coming
            coming = following
        if coming is not None:
            yield coming


def columns_of(
    pass_name: str, ids: pl.Series, examples: Sequence[Encoded], read: Callable[[Sequence[Encoded]], reader.Values]
) -> pl.DataFrame:
    """Return the ids and columns of a chunk; an example without a response token keeps its place, with nulls."""
    usable = range(len(examples)) if pass_name == "tokens" else [i for i, each in enumerate(examples) if each.predicted]
    values = read([examples[index] for index in usable])
    places = pl.DataFrame({"place": usable}, {"place": pl.Int64})
    columns = places.with_columns(
        # The cast, because polars makes rows that are arrays an Array, whatever the dtype says.
        pl.Series(name, list(values[name]), dtype=kind).cast(kind)
        for name, kind in schema(pass_name).items()
    )
    every = ids.to_frame().with_columns(place=pl.int_range(pl.len()))
    return every.join(columns, on="place", how="left", maintain_order="left").drop("place")


if __name__ == "__main__":
    flags.run(main)
