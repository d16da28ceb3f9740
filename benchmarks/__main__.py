"""Measure moesift beside the plain code, the two by turns in one run, and print the ratios.

python -m benchmarks [--case scoring] [--full-size] [--rounds 5] [--out results/benchmarks.json]
"""

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import given, plain
from moesift.models.batches import micro_batches
from moesift.models.loading import device
from moesift.models.routers import freeze_all_but
from moesift.provenance import commit, machine, versions
from moesift.scoring import measuring
from moesift.training import warmup

BATCH = 16  # of the plain code, and of the warm-up's optimizer step
BUDGET = {"cpu": 1024, "cuda": 65_536}  # tokens in a batch of the scoring engine
TOLERANCE = 1e-4  # up to which ours and the plain code must agree

# What a case returns: what moesift runs, what the plain code runs, tokens of a round, and how far their results differ.
Pair = tuple[Callable[[], object], Callable[[], object], int, float]


def scoring(full_size: bool) -> Pair:
    """Score examples by the routers: log odds by layer, means over the response."""
    selector = given.selector(full_size)
    examples = given.examples(2048 if full_size else 192, longest=1024)
    budget = BUDGET[selector.model.device.type]

    def ours() -> list[list[float]]:
        return measuring.signals(selector, examples, "response", budget)

    def theirs() -> list[list[float]]:
        return plain.scores(selector, examples, BATCH)

    apart = (torch.tensor(ours()) - torch.tensor(theirs())).abs().max().item()
    return ours, theirs, sum(len(example.ids) for example in examples), apart


def warmup_step(full_size: bool) -> Pair:
    """Make the gradients of one optimizer step of the budget warm-up."""
    selector = given.selector(full_size)
    freeze_all_but(selector.model, selector.trash_can.parameters())
    examples = given.examples(64, longest=1024)
    lengths = [len(example.ids) for example in examples]
    layers = len(selector.trash_can.routers)

    def ours() -> tuple[float, torch.Tensor]:
        parts = micro_batches(range(len(examples)), lengths, BATCH // 4, process=0, processes=1)
        terms = warmup.accumulate_gradients(
            selector, [[examples[index] for index in part] for part in parts], warmup.Weights(0.01, torch.ones(layers))
        )
        return terms.nats, terms.shares

    def theirs() -> tuple[float, torch.Tensor]:
        return plain.warmup_step(selector, examples, BATCH // 4, 0.01, 1.0)

    (nats, shares), (their_nats, their_shares) = ours(), theirs()
    apart = max(abs(nats - their_nats), (shares - their_shares).abs().max().item())
    return ours, theirs, sum(lengths), apart


CASES: dict[str, Callable[[bool], Pair]] = {"scoring": scoring, "warmup_step": warmup_step}


def peak_memory() -> int:
    """Return the largest memory of this process so far, in bytes; on a GPU, what torch allocated there."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def memory_of(case: str, which: str, full_size: bool) -> int:
    """Return what one round adds to a process's memory, in bytes: measured in a process of its own."""
    words = [sys.executable, "-m", "benchmarks", "--case", case, "--memory-of", which]
    done = subprocess.run([*words, *(["--full-size"] if full_size else [])], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def ceiling() -> float:
    """Return the floating-point operations a second of a large matrix product, as torch does it here."""
    size = 8192 if device().type == "cuda" else 2048
    dtype = torch.bfloat16 if device().type == "cuda" else torch.float32
    matrix = torch.randn(size, size, device=device(), dtype=dtype)
    seconds = min(timed(lambda: matrix @ matrix) for _ in range(5))
    return 2 * size**3 / seconds


def timed(run: Callable[[], object]) -> float:
    """Return how long a run takes, in seconds, the GPU's work included."""
    start = time.perf_counter()
    run()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Measure the cases, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--full-size", action="store_true", help="OLMoE-1B-7B's own shape in bf16: for a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    parser.add_argument("--memory-of", choices=["ours", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    if args.memory_of:
        ours, theirs, _, _ = CASES[args.case[0]](args.full_size)
        print({"ours": ours, "plain": theirs}[args.memory_of] and peak_memory())
        return
    found = {"machine": machine(), "threads": args.threads, "commit": commit(), "versions": versions(), "cases": {}}
    found["ceiling"] = ceiling()
    print(f"{found['machine']}, {args.threads} threads; a matrix product: {found['ceiling'] / 1e9:,.0f} GFLOP/s")
    print(f"{'case':<14}{'ours':>12}{'plain':>12}{'ratio':>8}{'apart':>10}   (tokens/s, median of {args.rounds})")
    for name in args.case:
        ours, theirs, tokens, apart = CASES[name](args.full_size)
        if not args.full_size and apart > TOLERANCE:
            raise SystemExit(f"{name}: ours and the plain code differ by {apart:g}")
        times = [(timed(ours), timed(theirs)) for _ in range(args.rounds)]
        ratio = statistics.median(plain_time / own for own, plain_time in times)
        own, other = (tokens / statistics.median(column) for column in zip(*times, strict=True))
        found["cases"][name] = {"ours": own, "plain": other, "ratio": ratio, "apart": apart}
        print(f"{name:<14}{own:>12,.0f}{other:>12,.0f}{ratio:>8.2f}{apart:>10.1g}")
        del ours, theirs
        gc.collect()
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
