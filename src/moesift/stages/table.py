"""Print the comparison of an experiment in the terminal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from moesift import flags
from moesift.errors import UserError
from moesift.report.comparison import HELDOUT, budget_text

SHOWN = 4  # outcomes that a terminal has room for


def main(results: Path) -> None:
    """Print the table, the headline and the path of the page.

    Args:
        results: results.json of an experiment.
    """
    if not results.is_file():
        raise UserError(f"{results}: there is no such file; `snakemake --cores all` makes it")
    numbers = json.loads(results.read_text())
    pl.Config(tbl_formatting="NOTHING", tbl_rows=-1, tbl_cols=-1, tbl_width_chars=1000, fmt_str_lengths=100)
    with pl.Config(tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(table(numbers))
    print("\n".join(["", *numbers["headline"], f"report: {results.parent / 'report' / 'index.html'}"]))


def table(numbers: Mapping[str, Any]) -> pl.DataFrame:
    """Return a row for each method and budget: the mean over seeds of outcomes, with its standard error.

    Of the held-out loss there is the difference to random as well, with a star where it is significant.
    """
    runs = [(run["method"], run["budget"], run["corrupted"]) for run in numbers["runs"]]
    differences = {(row["method"], row["budget"]): row for row in numbers["differences"] if row["outcome"] == HELDOUT}
    rows: dict[tuple, dict[str, str]] = {}
    for row in numbers["summary"]:
        run = (row["method"], row["budget"])
        cells = rows.setdefault(
            run, {"method": row["method"], "kept": budget_text(row["budget"]) if row["budget"] else ""}
        )
        error = "" if row["stderr"] is None else f" ± {row['stderr']:.3f}"
        cells[row["outcome"]] = "diverged" if row["value"] is None else f"{row['value']:.3f}{error}"
        if row["outcome"] == HELDOUT:
            against = differences.get(run, {"difference": None})
            star = "*" if against.get("verdict") in ("better", "worse") else ""
            cells["− random"] = "" if against["difference"] is None else f"{against['difference']:+.3f}{star}"
            shares = [share for *other, share in runs if tuple(other) == run and share is not None]
            cells["corrupted"] = f"{sum(shares) / len(shares):.1%}" if shares else ""
    columns = list(dict.fromkeys(name for cells in rows.values() for name in cells))
    return pl.DataFrame(list(rows.values()), schema=columns[: 4 + SHOWN])


if __name__ == "__main__":
    flags.run(main)
