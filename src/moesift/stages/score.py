"""Score one shard of the pool with the routers of a warm-up epoch."""

import argparse
import time
from pathlib import Path

import polars as pl
import torch

from moesift import checkpoints, config, flags, scores
from moesift.chat import encode
from moesift.errors import UserError, run
from moesift.scoring import score_by_router


def main() -> None:
    """Read an epoch and the pool, write the shard's scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="directory of a warm-up epoch")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="parquet of the shard's scores")
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 1")
    parser.add_argument("--shards", type=int, required=True, help="of how many")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--token-budget", type=int, required=True, help="tokens in a batch, padding included")
    flags.add(parser, config.Data, "max_length")
    flags.add(parser, config.Score, "layers", "tokens")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    selector = checkpoints.load(args.checkpoint)
    routed = len(selector.trash_can.routers)
    if args.layers != "all" and max(args.layers) >= routed:
        raise UserError(f"score.layers: {max(args.layers)} is beyond the {routed} routed layers, numbered from 0")
    pool = (
        pl.scan_parquet(args.pool)
        .select("id", "source", "messages")
        .gather_every(args.shards, args.shard - 1)
        .collect()
    )
    started = time.monotonic()
    examples = encode(pool["messages"].to_list(), selector.tokenizer, args.max_length)
    rows = score_by_router(selector, examples, args.layers, args.tokens, args.token_budget)
    scores.table(pool, rows).write_parquet(args.out)
    tokens = sum(len(example.ids) for example in examples)
    print(f"{pool.height} examples, {tokens} tokens, {tokens / (time.monotonic() - started):,.0f} tokens/s")


if __name__ == "__main__":
    run(main)
