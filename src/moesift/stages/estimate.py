"""Estimate what a configuration costs, before anything is spent: no weights are loaded and no GPU is needed."""

import argparse
from pathlib import Path

import polars as pl
import torch
from transformers import AutoModelForCausalLM

from moesift.config import Config
from moesift.errors import run
from moesift.models.chat import encode
from moesift.models.loading import load_config, load_tokenizer
from moesift.models.routers import has_routers
from moesift.models.shapes import Shape, shape_of
from moesift.report.costs import Pool
from moesift.report.estimate import lines

SAMPLE = 10_000  # examples of the pool whose tokens are counted


def main() -> None:
    """Read the models' configurations, and the pool if there is one; write and print the estimate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Config.model_validate_json, required=True, help="the configuration as JSON")
    parser.add_argument("--selector", required=True, help="the selector: a directory or a name on the hub")
    parser.add_argument("--target", required=True, help="the target: a directory or a name on the hub")
    parser.add_argument("--pool", type=Path, help="parquet of the pool, if it has been made")
    parser.add_argument("--out", type=Path, required=True, help="text file to write")
    args = parser.parse_args()

    selector = described("selector.model", args.selector, [])
    target = described("target.model", args.target, args.config.train.lora_targets)
    assumed = args.config.estimate
    if args.pool is None:
        known = "assumed: estimate.pool_examples and tokens_per_example, until `prepare` has made the pool"
        pool = Pool(assumed.pool_examples, assumed.tokens_per_example, assumed.tokens_per_example, known)
    else:
        pool = counted(args.pool, args.selector, args.target, args.config.data.max_length)
    text = "\n".join(lines(args.config, selector, target, pool)) + "\n"
    args.out.write_text(text)
    print(text)


def described(key: str, model: str, lora_targets: list[str]) -> Shape:
    """Return the shape of a model, made of its configuration without memory for its weights."""
    config = load_config(model, key)
    has_routers(config)  # a model that is no causal language model is named here
    with torch.device("meta"):
        # Without a dtype in the configuration, the weights are taken to be float32, as the shape then says.
        empty = AutoModelForCausalLM.from_config(config, dtype=config.get_text_config().dtype or torch.float32)
    return shape_of(empty, lora_targets)


def counted(path: Path, selector: str, target: str, max_length: int) -> Pool:
    """Return the pool's size, its mean lengths counted by both tokenizers on all examples or on a sample."""
    pool = pl.read_parquet(path, columns=["messages"])
    sample = pool if pool.height <= SAMPLE else pool.sample(SAMPLE, seed=0)
    messages = sample["messages"].to_list()
    means = [
        sum(len(example.ids) for example in encode(messages, load_tokenizer(model), max_length)) / len(messages)
        for model in (selector, target)
    ]
    return Pool(pool.height, means[0], means[1], f"the pool is there; tokens counted on {len(messages):,} of them")


if __name__ == "__main__":
    run(main)
