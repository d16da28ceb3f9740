"""Measure one GPU in eight minutes or less: speed, memory, bf16 beside float32, and the ways to spread a target.

python -m benchmarks.gpu [--out results/benchmarks-gpu.json] [--only PART ...] [--small]

Models have the shapes of OLMoE-1B-7B and of Qwen2.5-1.5B and random weights. What cannot run here is printed with its
reason, and the rest goes on. With --small everything runs on the CPU too, at a size that says nothing of speed.
"""

import argparse
import functools
import gc
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
import yaml
from scipy.stats import spearmanr

from benchmarks import cases, given, record
from benchmarks.__main__ import ceiling, memory, timed
from moesift.check.costs import forward
from moesift.data.pool import MESSAGES
from moesift.models.batches import TOKENS, by_token_budget
from moesift.models.chat import Encoded
from moesift.models.checkpoints import Selector
from moesift.models.experts import suit_device
from moesift.models.loading import device
from moesift.models.shapes import shape_of
from moesift.passes import likelihood, representation, representation_middle, routing
from moesift.passes.reader import Reader
from moesift.passes.shards import MOST

Row = dict[str, Any]
READS = {"routing": routing, "representation": representation, "representation_middle": representation_middle}
# The goal of each case, as a share of the speed of a matrix product.
GOALS = {"routing": 0.4, "representation": 0.4, "representation_middle": 0.4, "warmup_step": 0.3, "training_step": 0.4}
SPREAD = ("single", "fsdp2", "zero2", "zero3")


class Size(NamedTuple):
    """How much is measured: of a GPU's size, or a token of it."""

    full: bool
    examples: int
    length: int  # tokens


def main() -> None:
    """Measure each part, print a line for each figure, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    args = parser.parse_args()

    size = Size(False, 16, 64) if args.small else Size(True, 256, 512)
    card = torch.cuda.get_device_name() if device().type == "cuda" else "no GPU"
    most = ceiling()
    print(f"{card}, torch {torch.__version__}; a matrix product: {most / 1e12:,.1f} TFLOP/s")
    results = record.begun() | {"card": card, "matrix_product_flops": most, "parts": {}}
    for name in args.only:
        started, rows = time.perf_counter(), results["parts"].setdefault(name, [])
        for row in attempted(PARTS[name](size, most)):
            rows.append(row)
            print("  ".join([name, *(f"{key} {shown(value)}" for key, value in row.items())]), flush=True)
            record.write(results, args.out)
        print(f"{name} took {time.perf_counter() - started:.0f} s", flush=True)


def attempted(measured: Iterator[Row]) -> Iterator[Row]:
    """Yield what is measured, or why it could not be."""
    try:
        yield from measured
    except Exception as error:  # whatever a GPU, its driver or a library that is not there may raise
        traceback.print_exc()
        yield {"could not run": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def shown(value: object) -> str:
    """Return a value as it is printed."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def speed(run: Callable[[], object], tokens: int, flops: float, most: float) -> Row:
    """Return tokens a second, the share of a matrix product's speed, and peak GiB of a run after one that warms up."""
    run()
    seconds = []
    peak = memory(lambda: seconds.append(timed(run)))
    share = {"of_matrix_product": flops / seconds[0] / most} if flops else {}
    return {"tokens_per_s": tokens / seconds[0], **share, "peak_gib": peak / 2**30}


@functools.cache
def selector(full: bool) -> Selector:
    """Return the selector as `load_model` leaves it, once."""
    chosen = given.selector(full)
    suit_device(chosen.model)
    return chosen


def reading(size: Size, most: float) -> Iterator[Row]:
    """Read examples of equal length, by each pass that needs no head."""
    chosen = selector(size.full)
    shape = shape_of(chosen.model)
    examples = given.examples(size.examples, size.length, shortest=size.length)
    tokens = size.examples * size.length
    for name, module in READS.items():
        reader = Reader(chosen.tokenizer, chosen.model, chosen.trash_can if name == "routing" else None)
        # Of L layers the last one's experts do not run, or the upper half does not.
        layers = {"routing": shape.layers - 1, "representation": shape.layers}.get(name, shape.layers / 2)
        flops = tokens * forward(shape, head=False) * layers / shape.layers
        row = speed(lambda module=module, reader=reader: module.read(reader, examples, 0), tokens, flops, most)
        yield {"pass": name} | row | {"goal": GOALS[name]}
    reader = Reader(chosen.tokenizer, chosen.model, None)
    yield {"pass": "likelihood"} | speed(lambda: likelihood.read(reader, examples, 0), tokens, 0, most)


def padding(size: Size, most: float) -> Iterator[Row]:
    """Read examples whose lengths are as in instruction data, in batches of two sizes, of one chunk of a large pool."""
    chosen = selector(size.full)
    reader = Reader(chosen.tokenizer, chosen.model, chosen.trash_can)
    examples = given.examples(MOST if size.full else 16, 1024)
    lengths = [len(example.ids) for example in examples]
    for budget in (4096, TOKENS["cuda"]):
        padded = sum(lengths[batch[0]] * len(batch) for batch in by_token_budget(lengths, budget))

        row = speed(lambda budget=budget: routing.read(reader, examples, budget), sum(lengths), 0, most)
        yield {"batch": budget, "padding": 1 - sum(lengths) / padded} | row


def warmup(size: Size, most: float) -> Iterator[Row]:
    """Make the gradients of steps of the warm-up, in bf16 and in float32; the ceiling is that of bf16."""
    for dtype in (torch.bfloat16, torch.float32):
        yield of_case("warmup_step", size, most, dtype)


def training(size: Size, most: float) -> Iterator[Row]:
    """Make the gradients of steps of LoRA training, and the projected gradient of each example."""
    for name in ("training_step", "gradients"):
        yield of_case(name, size, most)


def of_case(name: str, size: Size, most: float, dtype: torch.dtype | None = None) -> Row:
    """Measure our side of a case of the CPU's benchmark."""
    case = cases.CASES[name](size.full, **({"dtype": dtype} if dtype else {}))
    row = {"case": name} | ({"dtype": str(dtype)} if dtype else {})
    return row | speed(case.ours, case.tokens, case.flops, most) | ({"goal": GOALS[name]} if name in GOALS else {})


def precision(size: Size, most: float) -> Iterator[Row]:
    """Compare what bf16 and float32 give of the same weights: rank correlation, and the largest difference."""
    examples = given.examples(256 if size.full else 32, 512)
    chosen = selector(size.full)
    chosen.model.bfloat16()
    for router in chosen.trash_can.routers.values():
        router.float()
    low = values_of(chosen, examples)
    chosen.model.float()  # which other parts do not take
    high = values_of(chosen, examples)
    selector.cache_clear()
    for name in low:
        yield {
            "value": name,
            "spearman": float(spearmanr(low[name], high[name]).statistic),
            "largest_difference": float(np.abs(low[name] - high[name]).max()),
            "standard_deviation": float(high[name].std()),
        }


def values_of(chosen: Selector, examples: Sequence[Encoded]) -> dict[str, np.ndarray]:
    """Return numbers of each example, by name, (N,): as methods use them."""
    routed = routing.read(Reader(chosen.tokenizer, chosen.model, chosen.trash_can), examples, 0)
    chosen.trash_can.gate = "open"
    plain = Reader(chosen.tokenizer, chosen.model, None)
    nll = np.array(likelihood.read(plain, examples, 0)["nll"])
    directions = np.array(representation.read(plain, examples, 0)["weighted"]).astype(float)  # (N, D)
    chosen.trash_can.gate = "learned"
    return {
        "log odds": np.array(routed["log_odds"]).mean(axis=1),
        "nll per token": nll / [example.predicted for example in examples],
        "cosine to the first": directions @ directions[0],
    }


def spread(size: Size, most: float) -> Iterator[Row]:
    """Tune a small target on one card by each accelerate file, as the workflow does; their first losses are equal."""
    with tempfile.TemporaryDirectory(prefix="moesift-") as name:
        folder = Path(name)
        tokenizer = given.tokenizer()
        model = given.target().float()
        model.resize_token_embeddings(len(tokenizer))
        model.save_pretrained(folder / "target")
        tokenizer.save_pretrained(folder / "target")
        chats = pl.Series(given.conversations(32), dtype=MESSAGES)
        ids = pl.Series([str(row) for row in range(len(chats))])
        pl.DataFrame({"id": ids, "messages": chats}).with_columns(finished=True).write_parquet(
            folder / "selected.parquet"
        )
        for file in SPREAD:
            yield from ({"file": file} | row for row in attempted(tuned(file, folder)))


def tuned(file: str, folder: Path) -> Iterator[Row]:
    """Start a training on one process, and yield its seconds and losses.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    asked = yaml.safe_load(Path(f"config/accelerate/{file}.yaml").read_text()) | {"num_processes": 1}
    (folder / f"{file}.yaml").write_text(yaml.safe_dump(asked))
    train = {
        "method": "lora",
        "accelerate": str(folder / f"{file}.yaml"),
        "epochs": 1,
        "learning_rate": 1e-3,
        "warmup_ratio": 0.1,
    }
    train |= {
        "batch_size": 16,
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "lora_targets": ["q_proj", "v_proj"],
    }
    flags = {"model": folder / "target", "selection": folder / "selected.parquet", "out": folder / file, "seed": 0}
    flags |= {"threads": 4, "micro-batch": 4, "state": folder / f"{file}.state", "save-every": 1000, "max-length": 512}
    gpus = str(torch.cuda.device_count() and 1)
    words = ["moesift.launch", "--nodes", "1", "--gpus", gpus, "--threads", "4", "--config", train["accelerate"]]
    words += ["moesift.stages.train_adapter", "--train", json.dumps(train)]
    words += [word for flag, value in flags.items() for word in (f"--{flag}", str(value))]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.splitlines()
        raise RuntimeError(next((line for line in lines if "error" in line.lower()), done.stderr))
    found = json.loads((folder / file / "training.json").read_text())
    losses = found["nll_per_step"]
    yield {
        "distributed": found["distributed"],
        "seconds_with_start": time.perf_counter() - started,
        "seconds": found["seconds"],
        "first_nll": losses[0],
        "last_nll": losses[-1],
    }


PARTS: dict[str, Callable[[Size, float], Iterator[Row]]] = {
    "reading": reading,
    "padding": padding,
    "precision": precision,
    "warmup": warmup,
    "training": training,
    "spread": spread,
}

if __name__ == "__main__":
    main()
