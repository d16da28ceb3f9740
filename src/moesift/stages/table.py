"""Print the comparison of an experiment in the terminal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from moesift import flags
from moesift.errors import UserError
from moesift.report.comparison import HELDOUT


def main(results: Path) -> None:
    """Print the table, the headline and the path of the page.

    Args:
        results: results.json of an experiment.
    """
    if not results.is_file():
        raise UserError(f"{results}: there is no such file; `snakemake --cores all` makes it")
    numbers = json.loads(results.read_text())
    plain = pl.Config(tbl_formatting="NOTHING", tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True)
    with plain, pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=1000, float_precision=3):
        print(str(table(numbers)).replace("null", "    "))
    print("\n".join(["", *numbers["headline"], f"report: {results.parent / 'report' / 'index.html'}"]))


def table(numbers: Mapping[str, Any]) -> pl.DataFrame:
    """Return a row for each method and budget: the mean over seeds of each outcome.

    Of the held-out loss there are its standard error, the difference to random, and whether it is significant; of a
    corrupted pool the share of what is kept.
    """
    run = ["method", "budget"]
    summary, differences, runs = (
        pl.DataFrame(numbers[name], infer_schema_length=None) for name in ("summary", "differences", "runs")
    )
    parts = [summary.filter(outcome=HELDOUT).select(*run, heldout="value", stderr="stderr")]
    if differences.height:
        parts.append(differences.filter(outcome=HELDOUT).select(*run, "difference", "verdict"))
    parts.append(runs.group_by(run).agg(pl.mean("corrupted")))
    parts.append(summary.filter(pl.col("outcome") != HELDOUT).pivot("outcome", index=run, values="value"))
    found = parts[0]
    for part in parts[1:]:
        found = found.join(part, on=run, how="left", nulls_equal=True, maintain_order="left")
    return found.select(column for column in found if column.null_count() < found.height)


if __name__ == "__main__":
    flags.run(main)
