"""Prepare synthetic pools of any size from JSON lines; print the time and the peak memory, which should grow little.

python -m benchmarks.prepare [--rows 100_000 400_000] [--out results/benchmarks-prepare.json]
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import record
from benchmarks.selection import Took, run

HELDOUT = 1000


def write_rows(path: Path, rows: int, seed: int) -> None:
    """Write different short questions with their answers, one in twenty of them a second time."""
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        line = ""
        for number in rng.permutation(rows).tolist():
            if number % 20 or not line:
                row = {"prompt": f"What is {number:x} times two?", "completion": f"It is {2 * number:x}."}
                line = json.dumps(row) + "\n"
            file.write(line)


def prepare(folder: Path) -> Took:
    """Run the stage on the rows in a folder, in a separate process, and measure it."""
    data = {"sources": [{"name": "rows", "path": str(folder / "rows.jsonl")}], "heldout": HELDOUT, "seed": 0}
    data |= {"corrupt": 0, "corruptions": []}
    files = [word for name in ("pool", "heldout", "rejected") for word in (f"--{name}", folder / f"{name}.parquet")]
    return run("moesift.stages.prepare", "--data", json.dumps(data), *files)


def main() -> None:
    """Measure each size, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 400_000])
    parser.add_argument("--out", type=Path, help="JSON of the numbers")
    args = parser.parse_args()

    results: dict[str, Any] = record.begun() | {"rows": {}}
    print(f"{results['machine']}\n{'rows':>14}{'seconds':>10}{'CPU s':>10}{'peak GB':>10}")
    for rows in args.rows:
        with tempfile.TemporaryDirectory(prefix="moesift-") as name:
            folder = Path(name)
            write_rows(folder / "rows.jsonl", rows, seed=0)
            took = prepare(folder)
            written = {
                file.stem: pl.scan_parquet(file).select(pl.len()).collect().item() for file in folder.glob("*.parquet")
            }
        if sum(written.values()) != rows:
            raise SystemExit(f"of {rows} rows, {sum(written.values())} are accounted for")
        results["rows"][rows] = took._asdict() | written
        print(f"{rows:>14,}{took.seconds:>10.1f}{took.cpu_seconds:>10.1f}{took.peak_gb:>10.2f}", flush=True)
    record.write(results, args.out)


if __name__ == "__main__":
    main()
