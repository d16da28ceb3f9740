"""Measure synthetic pools of any size as one shard, and print the seconds and the peak memory: it should not grow.

python -m benchmarks.memory [--rows 10_000 1_000_000] [--threads 2] [--out results/memory.json]

The selector has random weights and is as small as can be, so that a million examples take minutes: what is in question
is what a shard keeps of its examples, and a larger model adds the same to each size.
"""

import argparse
import tempfile
from pathlib import Path

import polars as pl
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from benchmarks import given, record
from benchmarks.selection import Took, pool_blocks, run
from moesift.data.blocks import write_blocks
from moesift.models import checkpoints, embedded
from moesift.models.routers import TrashCan

# The embedded selector, a sixth as wide and half as deep.
TINY = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}
QUANTITY = "signals"  # what `router` reads: a list an example
LONGEST = 128  # tokens


def write_pool(path: Path, rows: int, seed: int) -> None:
    """Write a pool of a question and an answer each, of 15 to 45 tokens, no two alike."""
    word = pl.col("id").str.head(pl.col("source_index") % 16 + 1)
    turns = [
        pl.struct(role=pl.lit(role), content=pl.format(text, word))
        for role, text in (("user", "What is {}?"), ("assistant", "It is {}."))
    ]
    blocks = pool_blocks(rows, seed)
    write_blocks((block.with_columns(messages=pl.concat_list(turns), finished=True) for block in blocks), path)


def write_selector(folder: Path) -> None:
    """Write an epoch of a warm-up, as a checkpoint is."""
    tokenizer = given.tokenizer()
    torch.manual_seed(0)
    model = OlmoeForCausalLM(OlmoeConfig.from_dict(embedded.moe_config(tokenizer).to_dict() | TINY))
    settings = {"trash_ratio": 0.25, "role": "appended", "seed": 0}
    checkpoints.save(
        checkpoints.Selector(model, tokenizer, TrashCan(model, **settings), settings), folder, None, optimizer={}
    )


def measured(folder: Path, threads: int) -> Took:
    """Measure the pool in a folder by the selector there, in a process of its own, and see what that takes."""
    words: list[object] = ["--quantities", f"epoch-0.{QUANTITY}", "--model", folder, "--pool", folder / "pool.parquet"]
    words += ["--out", folder / "measured.parquet", "--shard", "1-of-1"]
    words += ["--threads", threads, "--token-budget", 0, "--max-length", LONGEST]
    return run("moesift.stages.run_pass", *words)


def main() -> None:
    """Measure each size, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    args = parser.parse_args()

    found = record.begun() | {"threads": args.threads, "rows": {}}
    print(f"{found['machine']}, {args.threads} threads")
    print(f"{'rows':>14}{'seconds':>10}{'CPU s':>10}{'examples/s':>12}{'peak GB':>10}")
    with tempfile.TemporaryDirectory(prefix="moesift-") as name:
        folder = Path(name)
        write_selector(folder / "epoch-0")
        for rows in args.rows:
            write_pool(folder / "pool.parquet", rows, seed=0)
            own = measured(folder, args.threads)
            if (height := pl.scan_parquet(folder / "measured.parquet").select(pl.len()).collect().item()) != rows:
                raise SystemExit(f"{height} of {rows} examples were measured")
            found["rows"][rows] = own._asdict() | {"examples_per_second": rows / own.seconds}
            print(
                f"{rows:>14,}{own.seconds:>10.1f}{own.cpu_seconds:>10.1f}{rows / own.seconds:>12,.0f}"
                f"{own.peak_gb:>10.3f}",
                flush=True,
            )
    record.write(found, args.out)


if __name__ == "__main__":
    main()
