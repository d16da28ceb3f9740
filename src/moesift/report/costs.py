"""What a selection cost beside the training: seconds of jobs, as Snakemake recorded them."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import filter as matching
from math import fsum
from typing import Any

import polars as pl

SCHEMA = {
    "method": pl.String,
    "budget": pl.String,
    "seed": pl.Int64,
    "select": pl.Float64,
    "train": pl.Float64,
    "adapters": pl.Int64,
}


def costs_of(seconds: Mapping[str, float], methods: Sequence[Mapping[str, Any]], runs: Iterable[tuple]) -> pl.DataFrame:
    """Return what the jobs of each run took.

    Selections that a method made for each target by itself are one method: they share what they read, and of their
    trainings it is the mean.

    Args:
        seconds: of each job, by the path of its record below `benchmarks`, without its ending.
        methods: what is said of each, with `jobs`: the jobs that its scores wait for, these paths, or patterns of them.
        runs: method, budget, seed.

    Returns:
        Columns method, budget, seed, select (seconds of all jobs that the scores wait for, as if no other method had
        read the same), train (of one adapter) and adapters (how many there are); seconds are null where a job left no
        record.
    """
    about = {method["label"]: method for method in methods}
    grouped: dict[tuple[str, str, int], list[str]] = {}
    for label, budget, seed in runs:
        grouped.setdefault((about[label]["each"] or label, budget, seed), []).append(label)
    rows = []
    for (name, budget, seed), labels in grouped.items():
        jobs = {job.format(seed=seed) for label in labels for job in about[label]["jobs"]}
        trained = [seconds.get(f"adapters/{label}/{budget}/seed-{seed}") for label in labels]
        known = [one for one in trained if one is not None]
        rows.append(
            (name, budget, seed, _total(seconds, jobs), sum(known) / len(known) if known else None, len(labels))
        )
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _total(seconds: Mapping[str, float], jobs: Iterable[str]) -> float | None:
    found = [matching(seconds, job) for job in jobs]
    # Whatever the order of a set, the same to the last bit.
    return fsum(seconds[path] for of_job in found for path in of_job) if all(found) else None
