"""Measure moesift and the plain code in turn, in one run, and print the ratios.

python -m benchmarks [--case scoring] [--full-size] [--rounds 3] [--out results/benchmarks.json]
python -m benchmarks --case scoring --profile
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import record
from benchmarks.cases import CASES, DEFAULT
from moesift.models.loading import device

TOLERANCE = 1e-4  # largest allowed difference between our results and those of the plain code


def main() -> None:
    """Measure the cases, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(DEFAULT))
    parser.add_argument("--full-size", action="store_true", help="OLMoE-1B-7B's own shape in bf16: for a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    parser.add_argument("--profile", action="store_true", help="show where a round of ours spends its time instead")
    parser.add_argument("--memory-of", choices=["ours", "plain"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    if args.memory_of:
        print(memory(getattr(CASES[args.case[0]](args.full_size), args.memory_of)))
        return
    if args.profile:
        for name in args.case:
            print(f"{name}\n{profiled(CASES[name](args.full_size).ours)}")
        return
    most = ceiling()
    results: dict[str, Any] = record.begun() | {"threads": args.threads, "matrix_product_flops": most, "cases": {}}
    print(f"{results['machine']}, {args.threads} threads; a matrix product: {most / 1e9:,.0f} GFLOP/s")
    print(f"tokens/s, medians of {args.rounds} rounds; share of the matrix product's speed; MiB of a round")
    print(f"{'case':<22}{'ours':>10}{'plain':>10}{'ratio':>7}{'apart':>9}{'share':>7}{'ours':>8}{'plain':>8}")
    for name in args.case:
        case = CASES[name](args.full_size)
        apart = case.apart()
        if not args.full_size and apart > TOLERANCE:
            raise SystemExit(f"{name}: ours and the plain code differ by {apart:g}")
        times = [(timed(case.ours), timed(case.plain)) for _ in range(args.rounds)]
        ours, plain = (statistics.median(column) for column in zip(*times, strict=True))
        row = {
            "ours": case.tokens / ours,
            "plain": case.tokens / plain,
            "ratio": statistics.median(theirs / mine for mine, theirs in times),
            "apart": apart,
            "of_matrix_product": case.flops / ours / most if case.flops else None,
        }
        del case
        gc.collect()
        row["bytes"], row["plain_bytes"] = (memory_of(name, which, args) for which in ("ours", "plain"))
        results["cases"][name] = row
        share = f"{row['of_matrix_product']:.0%}" if row["of_matrix_product"] else ""
        print(
            f"{name:<22}{row['ours']:>10,.0f}{row['plain']:>10,.0f}{row['ratio']:>7.2f}{apart:>9.1g}{share:>7}"
            f"{row['bytes'] / 2**20:>8,.0f}{row['plain_bytes'] / 2**20:>8,.0f}"
        )
    record.write(results, args.out)


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


def profiled(run: Callable[[], object]) -> str:
    """Return torch's table of the operators that a run spends most time in, after one that warms up."""
    run()
    on_gpu = device().type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        timed(run)
    by = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    return profiler.key_averages().table(sort_by=by, row_limit=12, max_name_column_width=50)


def memory_of(case: str, which: str, args: argparse.Namespace) -> int:
    """Return the result of `memory` in a separate process, in which nothing ran before."""
    words = [sys.executable, "-m", "benchmarks", "--case", case, "--memory-of", which, "--threads", str(args.threads)]
    done = subprocess.run([*words, *(["--full-size"] if args.full_size else [])], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case}, {which}: {done.stderr}")
    return int(done.stdout.splitlines()[-1])


def memory(run: Callable[[], object]) -> int:
    """Return by how many bytes the memory in use grows at most during a run: a GPU's, else the process's."""
    if device().type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak of this process (Linux, proc(5))
    before = _resident("VmRSS")
    run()
    return _resident("VmHWM") - before


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


if __name__ == "__main__":
    main()
