"""Measure one quantity of one shard of the pool, with a warm-up epoch or with the selector as it came."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import PreTrainedTokenizerFast

from moesift import config, flags, progress
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.models import checkpoints
from moesift.models.chat import Encoded, encode
from moesift.models.loading import load_model, load_tokenizer
from moesift.scoring import losses, measuring

QUANTITIES: dict[str, pl.DataType] = {
    "tokens": pl.Int64(),  # response tokens
    "signals": pl.List(pl.Float64),  # each routed layer's mean log odds
    "usage": pl.List(pl.Float32),  # each routed layer's mean shares of its experts, one layer after the other
    "inputs": pl.List(pl.Float32),  # each routed layer's mean router input, one layer after the other
    "nats": pl.Float64(),  # loss of the response tokens, summed; of an epoch with its trash cans as they learnt
    "nats_open": pl.Float64(),  # of an epoch with every keep share at 1
    "nats_shut": pl.Float64(),  # of an epoch with every keep share at 0
    "nats_alone": pl.Float64(),  # of the selector as it came, with the instruction left out
}


def main() -> None:
    """Read a model and the pool, write the quantity of each example of the shard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quantity", choices=QUANTITIES, required=True)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--epoch", type=Path, help="directory of a warm-up epoch")
    model.add_argument("--selector", help="the selector as it came: a directory or a name on the hub")
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--out", type=Path, required=True, help="parquet of the shard")
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 1")
    parser.add_argument("--shards", type=int, required=True, help="of how many")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--token-budget", type=int, required=True, help="tokens in a batch, padding included")
    flags.add(parser, config.Data, "max_length")
    flags.add(parser, config.Score, "tokens")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    tokenizer, measured = of_selector(args) if args.epoch is None else of_epoch(args)
    pool = pl.scan_parquet(args.pool).select("id", "source", "messages", "finished")
    height = pool.select(pl.len()).collect().item()
    kind = QUANTITIES[args.quantity]
    parts = [pl.DataFrame(schema={"id": pl.String, "source": pl.String, "n_tokens": pl.Int64, args.quantity: kind})]
    tokens, started = 0, time.monotonic()
    starts = range((args.shard - 1) * measuring.CHUNK, height, args.shards * measuring.CHUNK)
    sizes = [min(measuring.CHUNK, height - start) for start in starts]

    def rate() -> str:
        return f"{tokens / (time.monotonic() - started):,.0f} tokens/s"

    for start in progress.steps(starts, sizes, args.quantity, unit="examples", told=rate):
        chunk = pool.slice(start, measuring.CHUNK).collect()
        examples = encode(chunk["messages"].to_list(), tokenizer, args.max_length, chunk["finished"].to_list())
        # An example that was cut before its response keeps its place: nothing is measured of it.
        usable = [index for index, example in enumerate(examples) if example.predicted]
        values: list[Any] = [None] * len(examples)
        for index, value in zip(usable, measured([examples[index] for index in usable]), strict=True):
            values[index] = value
        everything = args.quantity == "signals" and args.tokens == "all"
        counts = [len(e.ids) if everything and e.predicted else e.predicted for e in examples]
        parts.append(
            chunk.select("id", "source", n_tokens=pl.Series(counts, dtype=pl.Int64)).with_columns(
                pl.Series(args.quantity, values, dtype=kind)
            )
        )
        tokens += sum(len(example.ids) for example in examples)
    found = pl.concat(parts)
    with whole(args.out) as part:
        found.write_parquet(part)
    print(f"{args.quantity} of {found.height} examples, {tokens} tokens, {rate()}")


Measure = Callable[[Sequence[Encoded]], list[Any]]


def of_epoch(args: argparse.Namespace) -> tuple[PreTrainedTokenizerFast, Measure]:
    """Return the tokenizer of a warm-up epoch and what measures the quantity with it."""
    selector = checkpoints.load(args.epoch)
    pad = selector.tokenizer.pad_token_id
    if args.quantity == "signals":
        return selector.tokenizer, lambda examples: measuring.signals(
            selector, examples, args.tokens, args.token_budget
        )
    if args.quantity == "usage":
        return selector.tokenizer, lambda examples: measuring.usage(selector, examples, args.token_budget)
    if args.quantity == "inputs":
        return selector.tokenizer, lambda examples: measuring.inputs(selector, examples, args.token_budget)
    selector.trash_can.gate = {"nats": "learned", "nats_open": "open", "nats_shut": "shut"}[args.quantity]
    return selector.tokenizer, lambda examples: losses.nats(selector.model, pad, examples, args.token_budget)


def of_selector(args: argparse.Namespace) -> tuple[PreTrainedTokenizerFast, Measure]:
    """Return the tokenizer of the selector and what measures the quantity with it."""
    if args.quantity == "tokens":
        return load_tokenizer(args.selector), lambda examples: [example.predicted for example in examples]
    model, tokenizer = load_model(args.selector)
    pad = tokenizer.pad_token_id
    if args.quantity == "nats_alone":
        # What begins a text of its own: models without a start token have learnt that texts follow an end token.
        start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        return tokenizer, lambda examples: losses.nats_alone(model, pad, start, examples, args.token_budget)
    return tokenizer, lambda examples: losses.nats(model, pad, examples, args.token_budget)


if __name__ == "__main__":
    run(main)
