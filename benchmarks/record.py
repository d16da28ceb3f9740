"""The JSON of a benchmark: its results, and the machine and versions that gave them."""

import json
from pathlib import Path
from typing import Any

from moesift.files import atomic_write
from moesift.provenance import commit, machine, versions


def begun() -> dict[str, Any]:
    """Return the machine, the commit and the versions of the libraries: the beginning of a record."""
    return {"machine": machine(), "commit": commit(), "versions": versions()}


def write(results: dict[str, Any], path: Path | None) -> None:
    """Write a record, if a path is given."""
    if path is not None:
        with atomic_write(path) as part:
            part.write_text(json.dumps(results, indent=2) + "\n")
