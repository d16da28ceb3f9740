"""Measure what the methods read of one shard of the pool, by the selector as it came or by epochs of its warm-up."""

import argparse
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import torch
from transformers import PreTrainedTokenizerFast

from moesift import config, flags, progress
from moesift.data.blocks import side_by_side, write_blocks
from moesift.errors import UserError, run
from moesift.files import parquet, whole
from moesift.models import checkpoints
from moesift.models.chat import Encoded, encode
from moesift.models.checkpoints import Selector
from moesift.models.loading import load_model, load_tokenizer
from moesift.models.routers import Gate
from moesift.scoring import losses, measuring, shards
from moesift.scoring.measurements import TOKENS

EXAMPLE = {"id": pl.String, "source": pl.String, "n_tokens": pl.Int64}
QUANTITIES: dict[str, pl.DataType] = {
    "signals": pl.List(pl.Float64),  # each routed layer's mean log odds over the response tokens
    "signals_all": pl.List(pl.Float64),  # over all tokens
    "usage": pl.List(pl.Float32),  # each routed layer's mean shares of its experts, one layer after the other
    "inputs": pl.List(pl.Float32),  # each routed layer's mean router input, one layer after the other
    "nats": pl.Float64(),  # loss of the response tokens, summed; of an epoch with its trash cans as they learnt
    "nats_open": pl.Float64(),  # of an epoch with every keep share at 1
    "nats_shut": pl.Float64(),  # of an epoch with every keep share at 0
    "nats_end": pl.Float64(),  # of the selector as it came, of the last response token
    "sketch": pl.List(pl.Float32),  # of the selector as it came, what its middle router reads, in few numbers
    "nats_alone": pl.Float64(),  # of the selector as it came, with the instruction left out
}
GATES: dict[str, Gate] = {"nats": "learned", "nats_open": "open", "nats_shut": "shut"}

Made = TypeVar("Made")
Measure = Callable[[Sequence[Encoded]], Iterable[tuple[Any, ...]]]  # of each example a value for each column
Measures = Mapping[tuple[str, ...], Measure]  # by the names of the columns that it fills in one pass


def main() -> None:
    """Read a model and the pool, write the response tokens and the quantities of each example of the shard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quantities",
        type=lambda text: text.split("+"),
        required=True,
        help="joined by +: nats, nats_end, sketch, nats_alone or tokens of the selector; or epoch-2.signals and such",
    )
    parser.add_argument("--model", required=True, help="the selector, a directory or a name on the hub; or of epochs")
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--out", type=Path, required=True, help="parquet of the shard")
    parser.add_argument("--shard", type=_shard, required=True, help="which of how many, as 1-of-8")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--token-budget", type=int, required=True, help="tokens in a batch, padding included")
    flags.add(parser, config.Data, "max_length")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    shard, count = args.shard
    pool = pl.scan_parquet(args.pool).select("id", "source", "messages", "finished")
    height = pool.select(pl.len()).collect().item()
    tokens, started = 0, time.monotonic()
    starts = range((shard - 1) * shards.CHUNK, height, count * shards.CHUNK)
    sizes = [min(shards.CHUNK, height - start) for start in starts]

    def rate() -> str:
        return f"{tokens / (time.monotonic() - started):,.0f} tokens/s"

    def parts(tokenizer: PreTrainedTokenizerFast, measures: Measures, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        nonlocal tokens

        def tokenised(start: int) -> tuple[pl.DataFrame, list[Encoded]]:
            chunk = pool.slice(start, shards.CHUNK).collect()
            return chunk, encode(chunk["messages"].to_list(), tokenizer, args.max_length, chunk["finished"].to_list())

        if not starts:
            yield _nothing(columns)
        coming = ahead(tokenised, starts)
        for start, chunk in progress.steps(coming, sizes, ", ".join(columns) or TOKENS, unit="examples", told=rate):
            try:
                rows, examples = chunk.result()
                found = measured(rows, examples, measures)
            except Exception as error:
                ids = pool.slice(start, shards.CHUNK).select("id").collect()["id"]
                where = f"rows {start} to {start + len(ids) - 1} of {args.pool} (ids {ids[0]} to {ids[-1]})"
                if isinstance(error, UserError):
                    raise UserError(f"{where}: {error}") from error
                error.add_note(f"in {where}")
                raise
            tokens += sum(len(example.ids) for example in examples) * max(1, len(measures))
            yield found

    # A chunk is written before the next is measured, so that memory does not grow with the shard. Models take turns on
    # the whole shard, since to turn to one is slow: each has a file of its own until all are done.
    with whole(args.out) as part:
        by_model: list[Path] = []
        for tokenizer, measures in readers(args.model, args.quantities, args.token_budget):
            columns = [name for names in measures for name in names]
            written = columns if by_model else [*EXAMPLE, *columns]
            by_model.append(part.with_name(f"{part.name}.{len(by_model)}"))
            write_blocks((chunk.select(written) for chunk in parts(tokenizer, measures, columns)), by_model[-1])
        if len(by_model) == 1:
            by_model[0].rename(part)
        else:
            write_blocks(side_by_side(by_model), part)
    print(f"{', '.join(args.quantities)} of {sum(sizes)} examples, {tokens} tokens, {rate()}")


def ahead(make: Callable[[int], Made], starts: Sequence[int]) -> Iterator[tuple[int, Future[Made]]]:
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


def measured(chunk: pl.DataFrame, examples: Sequence[Encoded], measures: Measures) -> pl.DataFrame:
    """Return id, source, response tokens and the quantities of a chunk of the pool.

    An example that was cut before its response keeps its place: nothing is measured of it.
    """
    usable = [index for index, example in enumerate(examples) if example.predicted]
    columns = [pl.Series("n_tokens", [example.predicted for example in examples], dtype=pl.Int64)]
    for names, measure in measures.items():
        found = measure([examples[index] for index in usable])
        by_name = list(zip(*found, strict=True)) or [()] * len(names)  # nothing may be usable
        for name, of_usable in zip(names, by_name, strict=True):
            values: list[Any] = [None] * len(examples)
            for index, value in zip(usable, of_usable, strict=True):
                values[index] = value
            columns.append(pl.Series(name, values, dtype=_kind(name)))
    return chunk.select("id", "source").with_columns(columns)


def readers(
    model: str, quantities: Sequence[str], token_budget: int
) -> Iterator[tuple[PreTrainedTokenizerFast, Measures]]:
    """Load what is measured with, one after the other: the selector as it came, or each epoch that is asked for."""
    epochs: dict[str, list[str]] = {}
    for name in quantities:
        epoch, _, quantity = name.rpartition(".")
        epochs.setdefault(epoch, []).append(quantity)
    selector = None
    for epoch, of_epoch in epochs.items():
        if not epoch:
            yield as_it_came(model, of_epoch, token_budget)
            continue
        folder = Path(model, epoch)
        if selector is None:
            selector = checkpoints.load(folder)
        else:
            checkpoints.turn_to(selector, folder)  # the frozen weights, nearly all, are read once
        yield selector.tokenizer, of_warm_up(selector, epoch, of_epoch, token_budget)


def as_it_came(model: str, quantities: Sequence[str], token_budget: int) -> tuple[PreTrainedTokenizerFast, Measures]:
    """Return the tokenizer of the selector and what measures the quantities with it."""
    if list(quantities) == [TOKENS]:
        return load_tokenizer(model), {}
    loaded, tokenizer = load_model(model)
    pad = tokenizer.pad_token_id
    # What begins a text of its own: models without a start token have learnt that texts follow an end token.
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    measures: dict[tuple[str, ...], Measure] = {}
    if "sketch" in quantities:
        measures["nats", "nats_end", "sketch"] = lambda examples: losses.nats_end_and_sketch(
            loaded, pad, examples, token_budget
        )
    elif "nats_end" in quantities:
        measures["nats", "nats_end"] = lambda examples: losses.nats_and_end(loaded, pad, examples, token_budget)
    elif "nats" in quantities:
        measures["nats",] = lambda examples: zip(losses.nats(loaded, pad, examples, token_budget), strict=True)
    if "nats_alone" in quantities:
        measures["nats_alone",] = lambda examples: zip(
            losses.nats_alone(loaded, pad, start, examples, token_budget), strict=True
        )
    return tokenizer, measures


def of_warm_up(selector: Selector, epoch: str, quantities: Sequence[str], token_budget: int) -> Measures:
    """Return what measures the quantities with an epoch of the warm-up: what its routers say in one pass."""
    measures: dict[tuple[str, ...], Measure] = {}
    if read := [name for name in quantities if name in measuring.READINGS]:
        measures[tuple(f"{epoch}.{name}" for name in read)] = lambda examples: measuring.readings(
            selector, examples, read, token_budget
        )

    def nats(gate: Gate, examples: Sequence[Encoded]) -> Iterable[tuple[float]]:
        own, selector.trash_can.gate = selector.trash_can.gate, gate
        found = losses.nats(selector.model, selector.tokenizer.pad_token_id, examples, token_budget)
        selector.trash_can.gate = own
        return zip(found, strict=True)

    for name in quantities:
        if name in GATES:
            measures[f"{epoch}.{name}",] = functools.partial(nats, GATES[name])
    return measures


def _kind(column: str) -> pl.DataType:
    return QUANTITIES[column.rpartition(".")[2]]


def _nothing(columns: Sequence[str]) -> pl.DataFrame:
    """Return what a shard without examples has measured."""
    return pl.DataFrame(schema=EXAMPLE | {name: _kind(name) for name in columns})


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("-of-")
    return int(number), int(count)


if __name__ == "__main__":
    run(main)
