"""Let a thousand queries take a million examples by turns, in bounded memory; print seconds and peak memory.

python -m benchmarks.similarity [--pool 1_000_000] [--queries 1000] [--width 1024] [--threads 2] [--out FILE]

The vectors are drawn around as many centres as there are queries, so that queries of one kind want the same examples.
Beside it stands one block of the pool by numpy, the least that any code must compute.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import record
from moesift.select.targeted import assign

ROWS = 8192  # of the pool in a block, as in `stages.score_targeted`
CENTRES = 50


def write_vectors(path: Path, rows: int, width: int, seed: int) -> np.ndarray:
    """Write float16 vectors of length one around a few centres, and map them into memory."""
    rng, centres = np.random.default_rng(seed), np.random.default_rng(0).normal(size=(CENTRES, width))
    vectors = np.lib.format.open_memmap(path, "w+", np.float16, (rows, width))
    for start in range(0, rows, ROWS):
        own = rng.integers(CENTRES, size=min(ROWS, rows - start))
        block = centres[own] + rng.standard_normal((len(own), width), dtype=np.float32)
        vectors[start : start + len(own)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("pool", 1_000_000), ("queries", 1000), ("width", 1024), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        pool = write_vectors(Path(folder) / "pool.npy", asked.pool, asked.width, 1)
        wanted = torch.from_numpy(write_vectors(Path(folder) / "queries.npy", asked.queries, asked.width, 2)[:]).float()
        readings = 0

        def similarities() -> Iterator[torch.Tensor]:
            nonlocal readings
            readings += 1
            for start in range(0, asked.pool, ROWS):
                yield torch.from_numpy(pool[start : start + ROWS]).float() @ wanted.T  # (B, V)

        started = time.perf_counter()
        found = assign(similarities, np.zeros(asked.queries, dtype=int), "round_robin", np.arange(asked.pool))
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        pool[:ROWS].astype(np.float32) @ wanted.numpy().T
        plain = (time.perf_counter() - started) * asked.pool / ROWS
    results = {
        "pool": asked.pool,
        "queries": asked.queries,
        "width": asked.width,
        "taken": len(found.rows),
        "seconds": seconds,
        "readings of the pool": readings,
        "seconds of one matrix product by numpy": plain,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(results, indent=2))
    record.write(record.begun() | results, asked.out)


if __name__ == "__main__":
    main()
