"""What the stages recorded beside their results: reasons, and the time of the jobs."""

from collections.abc import Sequence
from typing import Any

import polars as pl

PARTICULAR = r"\b(?:[0-9a-f]{16}|\d+(?:\.\d+)?)\b"  # ids and numbers, which do not distinguish kinds of reasons
REASONS = 20  # of a source, a method or a run: the most frequent
# Of Snakemake's benchmark files: seconds, MiB, and in the extended ones the rule.
RECORD = {"s": pl.Float64, "max_rss": pl.Float64, "rule_name": pl.String}


def reason_counts(frame: pl.DataFrame, by: Sequence[str], seeds: int = 1) -> list[dict[str, Any]]:
    """Return how many examples have which kind of reason, the mean over seeds: the most frequent REASONS of each.

    The kind is the first part of a reason, without ids and numbers.
    """
    kind = pl.col("reason").str.split(":").list.first().str.replace_all(PARTICULAR, "…")
    counts = frame.group_by(*by, reason=kind).agg(count=pl.len() / seeds)
    counts = counts.sort(*by, "count", "reason", descending=[*[False] * len(by), True, False])
    return counts.filter(pl.int_range(pl.len()).over(by) < REASONS).to_dicts()


def durations(jobs: pl.DataFrame) -> pl.DataFrame:
    """Return what the jobs of each rule took, the longest first: rule, jobs, seconds (of all), peak_gib (of one).

    Args:
        jobs: columns RECORD, a row a job; null where it is not known (a job of less than a second has no memory).
    """
    by_rule = jobs.group_by(rule="rule_name")
    by_rule = by_rule.agg(jobs=pl.len(), seconds=pl.sum("s"), peak_gib=pl.max("max_rss") / 1024)
    return by_rule.sort("seconds", "rule", descending=[True, False])
