"""Print the comparison of an experiment in the terminal."""

import json
from pathlib import Path

import polars as pl

from moesift import flags
from moesift.errors import UserError
from moesift.report.comparison import overview


def main(results: Path) -> None:
    """Print the table, the headline and the path of the page.

    Args:
        results: results.json of an experiment.
    """
    if not results.is_file():
        raise UserError(f"{results}: there is no such file; `snakemake --cores all` makes it")
    tables = (results.parent / f"tables/{name}.parquet" for name in ("summary", "differences", "runs"))
    table = overview(*map(pl.read_parquet, tables))
    plain = pl.Config(tbl_formatting="NOTHING", tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True)
    with plain, pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=1000, float_precision=3):
        print(str(table).replace("null", "    "))
    print("", *json.loads(results.read_text())["headline"], f"report: {results.parent}/report/index.html", sep="\n")


if __name__ == "__main__":
    flags.run(main)
