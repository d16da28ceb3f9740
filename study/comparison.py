"""Numbers of several experiments, compared over seeds. Pure functions of tidy frames; every study uses them.

The frames hold one number a row, `value`, with the column `seed` and columns that say what the number is of. A seed is
another draw of pool, queries and held-out examples, and another training (of corruptions other models too). Numbers of
two seeds count as independent, and intervals are Student's t over seeds at 95%. What two methods reached on one seed is
paired: differences are taken before the mean.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from moesift.files import require_parquet
from moesift.report.statistics import t_interval

NUMBERS = {"value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "seeds": pl.UInt32}


def read_tables(folders: Mapping[Path, Mapping[str, int | str]], name: str) -> pl.DataFrame:
    """Return one table of several experiments, one below the other.

    Args:
        folders: `results/{experiment}/tables` of each, and what is said of it in columns: its seed, which rows of the
            untuned target do not have, and others.
        name: of the table, such as `auroc`.
    """
    tables = [
        pl.read_parquet(require_parquet(folder / f"{name}.parquet")).with_columns(
            pl.lit(value, pl.Int64 if isinstance(value, int) else pl.String).alias(column)
            for column, value in about.items()
        )
        for folder, about in folders.items()
    ]
    return pl.concat(tables, how="vertical_relaxed")


def mean_by_seed(frame: pl.DataFrame, by: Sequence[str], count: int | None = None) -> pl.DataFrame:
    """Return the mean of the numbers of each seed, such as those of its experiments: columns seed, `by` and value.

    It is null where a number is null, or there are not `count` of them: a mean over fewer could not be compared.
    """
    complete = (pl.col("value").null_count() == 0) & (True if count is None else pl.len() == count)
    return frame.group_by("seed", *by, maintain_order=True).agg(value=pl.when(complete).then(pl.col("value").mean()))


def over_seeds(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return the mean over seeds and its 95% interval.

    Args:
        frame: columns seed, `by` and value, one row a seed; seeds without a number take no part.
        by: what a number is of.

    Returns:
        Columns `by`, value, low, high (null for a single seed) and seeds (how many have a number).
    """
    rows = []
    for key, group in frame.group_by(by, maintain_order=True):
        values = group["value"].drop_nulls().to_numpy()
        found = t_interval(values)[:3] if len(values) else (None, None, None)
        rows.append((*key, *found, len(values)))
    return pl.DataFrame(rows, schema={name: frame.schema[name] for name in by} | NUMBERS, orient="row")


def minus(frame: pl.DataFrame, other: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
    """Return numbers minus those of the same seed in another frame.

    Args:
        frame: columns seed, value, those of `on` and others.
        other: columns seed, value and those of `on`, at most one row for each seed and value of `on`.
        on: what must be equal beside the seed.

    Returns:
        The frame with the difference as `value`, without the rows that have no counterpart.
    """
    pairs = frame.join(
        other.select("seed", *on, other="value"), on=["seed", *on], maintain_order="left", validate="m:1"
    )
    return pairs.with_columns(value=pl.col("value") - pl.col("other")).drop("other")


def best_of(means: pl.DataFrame, methods: Sequence[str], by: Sequence[str]) -> pl.DataFrame:
    """Return the method with the highest mean: columns `by` and against. It favours the baseline, which is intended.

    Args:
        means: columns method, value and those of `by`.
        methods: those to choose from.
        by: what is chosen for, such as the kind.
    """
    known = means.filter(pl.col("method").is_in(methods)).sort("value", descending=True, nulls_last=True)
    return known.group_by(by, maintain_order=True).agg(against=pl.col("method").first())


def shown(frame: pl.DataFrame, digits: int, *, difference: bool = False) -> pl.Series:
    """Return each row's value with its interval as text, such as 0.81 [0.80, 0.82]; a dash where there is none.

    A difference has a sign, and is bold where its interval excludes zero, on either side.
    """
    form = f"{'+' if difference else ''}.{digits}f"

    def text(value: float | None, low: float | None, high: float | None) -> str:
        if value is None:
            return "–"
        if low is None or high is None:
            return f"{value:{form}}"
        words = f"{value:{form}} [{low:{form}}, {high:{form}}]"
        return f"**{words}**" if difference and (low > 0 or high < 0) else words

    return pl.Series("shown", [text(*row) for row in frame.select("value", "low", "high").iter_rows()], pl.String)


def markdown(frame: pl.DataFrame) -> str:
    """Return a frame as a Markdown table."""
    with pl.Config(
        tbl_formatting="MARKDOWN",
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=10_000,
        fmt_str_lengths=1_000,
    ):
        return str(frame)
