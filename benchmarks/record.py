"""The JSON of a benchmark: what it found, and what it was measured with."""

import json
from pathlib import Path
from typing import Any

from moesift.files import atomic_write
from moesift.provenance import commit, machine, versions


def begun() -> dict[str, Any]:
    """Return what a record begins with: the machine, the commit and the versions of the libraries."""
    return {"machine": machine(), "commit": commit(), "versions": versions()}


def write(found: dict[str, Any], path: Path | None) -> None:
    """Write a record, if there is where to."""
    if path is not None:
        with atomic_write(path) as part:
            part.write_text(json.dumps(found, indent=2) + "\n")
