"""Find the examples of the pool that the selector represents almost alike, once for all methods."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch

from moesift import flags
from moesift.data.semantic_duplicates import similar_pairs
from moesift.files import atomic_write
from moesift.passes.stored import as_array, column_of

COMPARED = "weighted"
ROWS = 4096  # of the pool that are compared at once


def main(pool: flags.Parquet, representation: flags.Parquet, out: Path, threshold: float, threads: int) -> None:
    """Read the pass, write the pairs.

    Args:
        pool: parquet of the pool.
        representation: the pass of this name over the pool.
        out: parquet of the pairs to write.
        threshold: cosine from which on two examples are near-duplicates.
        threads: CPU threads.
    """
    torch.set_num_threads(threads)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    ids = pl.read_parquet(pool, columns=["id"])["id"]

    def blocks(start: int) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for at in range(start, len(ids), ROWS):
            column = column_of(representation, COMPARED, ids.slice(at, ROWS), at)
            places = at + column.is_not_null().arg_true().to_numpy().astype(np.int64)
            if len(places):
                yield places, torch.tensor(as_array(column.drop_nulls()), device=device)

    with torch.inference_mode():
        found = similar_pairs(blocks, len(ids), threshold)
    pairs = pl.DataFrame(
        {"id": ids[found.places], "other": ids[found.others], "similarity": found.cosines.astype(np.float64)}
    )
    with atomic_write(out) as part:
        pairs.write_parquet(part)
    print(f"{pairs.height} pairs of {len(ids)} examples with a cosine of {threshold:g} or more")
    if np.isfinite(found.nearest).any():
        quantiles = np.quantile(found.nearest[np.isfinite(found.nearest)], (0.5, 0.9, 0.99))
        shown = ", ".join(
            f"{name} {value:.4f}" for name, value in zip(("median", "90%", "99%"), quantiles, strict=True)
        )
        print(f"cosine of an example with the most similar other one: {shown}")


if __name__ == "__main__":
    flags.run(main)
