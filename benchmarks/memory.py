"""Run a pass over synthetic pools of any size as one shard; print the time and the peak memory, which should not grow.

python -m benchmarks.memory [--rows 10_000 1_000_000] [--threads 2] [--out results/memory.json]

The selector is tiny and has random weights, so that a million examples take minutes: the question is how much memory a
shard needs for its examples, and a larger model adds the same amount to each size.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from benchmarks import given, record
from benchmarks.selection import Took, pool_blocks, run
from moesift.data.blocks import write_blocks
from moesift.demo import embedded
from moesift.models import checkpoints
from moesift.models.routers import TrashCan

# The embedded selector, a sixth as wide and half as deep.
TINY = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}
PASS = "routing"  # which gives lists of numbers for each example
LONGEST = 128  # tokens


def write_pool(path: Path, rows: int, seed: int) -> None:
    """Write a pool of different questions and answers, of 15 to 45 tokens each."""
    word = pl.col("id").str.head(pl.col("source_index") % 16 + 1)
    turns = [
        pl.struct(role=pl.lit(role), content=pl.format(text, word))
        for role, text in (("user", "What is {}?"), ("assistant", "It is {}."))
    ]
    blocks = pool_blocks(rows, seed)
    write_blocks((block.with_columns(messages=pl.concat_list(turns), finished=True) for block in blocks), path)


def write_selector(folder: Path) -> None:
    """Write an epoch of a warm-up."""
    tokenizer = given.tokenizer()
    torch.manual_seed(0)
    model = OlmoeForCausalLM(OlmoeConfig.from_dict(embedded.moe_config(tokenizer).to_dict() | TINY))
    settings = {"trash_ratio": 0.25, "role": "appended", "seed": 0}
    checkpoints.save(
        checkpoints.Selector(model, tokenizer, TrashCan(model, **settings), settings), folder, None, optimizer={}
    )


def run_pass(folder: Path, threads: int) -> Took:
    """Run the pass over the pool in a folder by the selector there, in a separate process, and measure it."""
    words: list[object] = ["--pass-name", PASS, "--is-epoch", "--model", folder / "epoch-0"]
    words += ["--pool", folder / "pool.parquet", "--out", folder / "pass.parquet", "--shard", "1-of-1"]
    words += ["--threads", threads, "--token-budget", 0, "--max-length", LONGEST]
    return run("moesift.stages.run_pass", *words)


def main() -> None:
    """Measure each size, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    args = parser.parse_args()

    results: dict[str, Any] = record.begun() | {"threads": args.threads, "rows": {}}
    print(f"{results['machine']}, {args.threads} threads")
    print(f"{'rows':>14}{'seconds':>10}{'CPU s':>10}{'examples/s':>12}{'peak GB':>10}")
    with tempfile.TemporaryDirectory(prefix="moesift-") as name:
        folder = Path(name)
        write_selector(folder / "epoch-0")
        for rows in args.rows:
            write_pool(folder / "pool.parquet", rows, seed=0)
            took = run_pass(folder, args.threads)
            if (height := pl.scan_parquet(folder / "pass.parquet").select(pl.len()).collect().item()) != rows:
                raise SystemExit(f"{height} of {rows} examples were read")
            results["rows"][rows] = took._asdict() | {"examples_per_second": rows / took.seconds}
            times = f"{took.seconds:>10.1f}{took.cpu_seconds:>10.1f}{rows / took.seconds:>12,.0f}"
            print(f"{rows:>14,}{times}{took.peak_gb:>10.3f}", flush=True)
    record.write(results, args.out)


if __name__ == "__main__":
    main()
