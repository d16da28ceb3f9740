"""Time Snakemake's plan of many shards, and its plan of as many jobs of the simplest possible rule.

python -m benchmarks.plan [--shards 100 1000] [--rounds 3] [--out results/plan.json]

Ten methods and five seeds. What a plan costs more than the simple one is due to moesift's rules.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.selection import Took, took

ROOT = Path(__file__).parents[1]
SEEDS = [0, 1, 2, 3, 4]
METHODS = [
    "router",
    "router_untrained",
    "expert_gain",
    "reducible",
    "nll",
    "ifd",
    "likelihood_pmi",
    "typical_pmi",
    "length",
    "random",
]
PLAIN = """
rule all:
    input: expand("{number}.out", number=range(JOBS))
rule make:
    input: "source"
    output: "{number}.out"
    shell: "cp {input} {output}"
"""


def plan(folder: Path, *words: str) -> Took:
    """Let Snakemake plan in a folder, and measure it."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all", *words]
    return took(command, {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}, folder)


def jobs_of(shards: int) -> int:
    """Return the number of jobs in the plan of so many shards, as Snakemake counts them."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--config", *settings(shards)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return next(int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("total "))


def settings(shards: int) -> list[str]:
    """Return the settings that differ from config/config.yaml."""
    larger = [f"throughput={{'shards': {shards}}}", f"seeds={SEEDS}", f"methods={METHODS}"]
    return [*larger, "experiment=benchmark_of_the_plan"]


def main() -> None:
    """Measure the plans of each number of shards, in turn, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    args = parser.parse_args()

    results: dict[str, Any] = record.begun() | {"shards": {}}
    print(f"{results['machine']}; medians of {args.rounds} rounds, in seconds")
    print(f"{'shards':>8}{'jobs':>8}{'moesift':>10}{'plain':>10}{'ratio':>8}{'peak GB':>10}")
    for shards in args.shards:
        jobs = jobs_of(shards)
        with tempfile.TemporaryDirectory(prefix="moesift-") as name:
            Path(name, "Snakefile").write_text(PLAIN.replace("JOBS", str(jobs - 1)))
            Path(name, "source").touch()
            rounds = [(plan(ROOT, "--config", *settings(shards)), plan(Path(name))) for _ in range(args.rounds)]
        row = {
            "jobs": jobs,
            "seconds": statistics.median(ours.seconds for ours, _ in rounds),
            "plain_seconds": statistics.median(plain.seconds for _, plain in rounds),
            "ratio": statistics.median(ours.seconds / plain.seconds for ours, plain in rounds),
            "peak_gb": max(ours.peak_gb for ours, _ in rounds),
        }
        results["shards"][shards] = row
        print(
            f"{shards:>8,}{jobs:>8,}{row['seconds']:>10.1f}{row['plain_seconds']:>10.1f}{row['ratio']:>8.2f}"
            f"{row['peak_gb']:>10.2f}",
            flush=True,
        )
    record.write(results, args.out)


if __name__ == "__main__":
    main()
