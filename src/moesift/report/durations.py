"""What the jobs of an experiment took, by rule, from the records that Snakemake keeps of them."""

import polars as pl

# Of Snakemake's benchmark files: seconds, MiB, processor seconds and, in the extended ones, rule and resources.
RECORD = {
    "s": pl.Float64,
    "max_rss": pl.Float64,
    "cpu_time": pl.Float64,
    "rule_name": pl.String,
    "resources": pl.String,
}


def by_rule(jobs: pl.DataFrame) -> pl.DataFrame:
    """Return what the jobs of each rule took, the rule that took longest first.

    Args:
        jobs: columns RECORD, a row a job; null where it is not known (a job of less than a second has no memory).

    Returns:
        Columns rule (null for jobs whose record does not name it), jobs, seconds (of all together), median_seconds,
        peak_gib (the most that a job held), cpu_seconds and gpu_hours (a job's time by the GPUs that it had; null where
        that is not known).
    """
    gpus = pl.col("resources").str.extract(r"'gpu': (\d+)").cast(pl.Float64).fill_null(0)
    return (
        jobs.group_by(rule="rule_name")
        .agg(
            jobs=pl.len().cast(pl.Int64),
            seconds=pl.col("s").sum(),
            median_seconds=pl.col("s").median(),
            peak_gib=pl.col("max_rss").max() / 1024,
            cpu_seconds=pl.col("cpu_time").sum(),
            gpu_hours=pl.when(pl.col("resources").is_not_null().all()).then((pl.col("s") * gpus).sum() / 3600),
        )
        .sort("seconds", "rule", descending=[True, False])
    )
