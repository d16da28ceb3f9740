"""Print the comparison of a results.json to the terminal."""

import argparse
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moesift.errors import UserError, run

WIDTH = 110  # columns of the terminal


def main() -> None:
    """Print the table, the headline and the path of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="results.json of an experiment")
    args = parser.parse_args()
    if not args.results.is_file():
        raise UserError(f"{args.results}: there is no such file; `snakemake --cores all` makes it")
    numbers = json.loads(args.results.read_text())
    print(table(numbers))
    print()
    print(textwrap.fill(" ".join(numbers["headline"]), WIDTH, break_on_hyphens=False))
    print(f"report: {args.results.parent / 'report' / 'index.html'}")


def table(numbers: Mapping[str, Any]) -> str:
    """Return the rows of the comparison in aligned columns; tasks that do not fit in the width are named below."""
    rows = numbers["rows"]
    columns = [
        ["method", *(row["method"] for row in rows)],
        ["kept", *("" if row["ratio"] is None else f"{100 * row['ratio']:g}%" for row in rows)],
        ["seed", *("" if row["seed"] is None else str(row["seed"]) for row in rows)],
        ["held-out nats", *(_measured(row["outcomes"]["heldout"]) for row in rows)],
    ]
    if numbers["labelled"]:
        shares = (row["kept_corrupted"] for row in rows)
        columns.append(["corrupted kept", *("" if share is None else f"{share:.1%}" for share in shares)])
    omitted = []
    for name in (task["name"] for task in numbers["tasks"]):
        column = [name, *(_measured(row["outcomes"][name]) for row in rows)]
        if len(_aligned([*columns, column])[0]) <= WIDTH:
            columns.append(column)
        else:
            omitted.append(name)
    notes = [f"not shown, but in the report: {', '.join(omitted)}"] if omitted else []
    return "\n".join([*_aligned(columns), *notes])


def _measured(outcome: Mapping[str, Any]) -> str:
    error = "" if outcome["stderr"] is None else f" ± {outcome['stderr']:.3f}"
    return f"{outcome['value']:.3f}{error}"


def _aligned(columns: list[list[str]]) -> list[str]:
    """Return the lines of a table, all of the same length: the first column to the left, the others to the right."""
    padded = []
    for place, column in enumerate(columns):
        width = max(len(cell) for cell in column)
        padded.append([cell.rjust(width) if place else cell.ljust(width) for cell in column])
    return ["  ".join(line) for line in zip(*padded, strict=True)]


if __name__ == "__main__":
    run(main)
