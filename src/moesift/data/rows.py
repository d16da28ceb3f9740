"""The rows of a file of JSON lines, of one JSON array or of parquet, as they are, one after the other."""

import gzip
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import IO, Any, NamedTuple

from pyarrow import ArrowException, RecordBatch, parquet

from moesift.errors import UserError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BATCH = 4096  # rows of a parquet file that are read at once

Open = Callable[[], AbstractContextManager[IO[bytes] | gzip.GzipFile]]  # each call opens the file at its beginning

# What the readers of damaged files raise; the last for an unknown time zone.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    RecursionError,
    zlib.error,
    lzma.LZMAError,
    ArrowException,
    OverflowError,
    KeyError,
)


class SourceError(UserError):
    """A source cannot be read at all."""


class Row(NamedTuple):
    """One row of a source.

    `index` counts from 0 (in JSON lines it is the line). `content` is the row, or its text where `reason` says why it
    is not a row. `choices` are the answers of a multiple-choice question, else empty.
    """

    index: int
    content: Any
    choices: tuple[str, ...] = ()
    reason: str | None = None


class Rows(NamedTuple):
    """The number of rows of a source, and an iterator that reads them, so that they need not all be in memory."""

    count: int
    each: Iterator[Row]


@contextmanager
def source_errors(failure: str, *more: type[Exception]) -> Generator[None]:
    """Turn what the readers of damaged files raise into a `SourceError` that begins with `failure`."""
    try:
        yield
    except (*UNREADABLE, *more) as error:
        raise SourceError(f"{failure}: {error}") from error


def parse(name: str, open_file: Open) -> Rows:
    """Return the rows of a file, read as its ending says.

    Args:
        name: of the file, for errors.
        open_file: opens it, once to count its rows and once more to read them.

    Raises:
        SourceError: it cannot be read, or has an unknown ending. Damage further on is raised when it is reached.
    """
    ending = next((ending for ending in _READERS if name.endswith(ending)), None)
    if ending is None:
        raise SourceError(f"{name} should end in one of {', '.join(_READERS)}")
    failure = f"{name} cannot be read as {ending}"
    with source_errors(failure):
        count, rows = _READERS[ending](partial(_unzipped, open_file) if ending.endswith(".gz") else open_file)

    def each() -> Iterator[Row]:
        with source_errors(failure):
            yield from rows

    return Rows(count, each())


def json_line(index: int, line: bytes) -> Row:
    """Return the row in a line of JSON, or the reason why there is none."""
    try:
        content = json.loads(line.decode(), object_pairs_hook=_without_duplicates)
        if isinstance(content, Mapping):
            return Row(index, content)
        problem = "not a JSON object"
    except UnicodeDecodeError as error:
        problem = f"not UTF-8: {error.reason} at byte {error.start}"
    except (ValueError, RecursionError) as error:
        problem = f"not JSON: {error}"
    return Row(index, line.decode(errors="replace"), reason=f"line {index + 1} is {problem}")


@contextmanager
def _unzipped(open_file: Open) -> Generator[gzip.GzipFile]:
    with open_file() as file, gzip.GzipFile(fileobj=file) as content:
        yield content


def _json_lines(open_file: Open) -> Rows:
    def lines() -> Iterator[tuple[int, bytes]]:
        with open_file() as file:
            for index, line in enumerate(file):
                line = line.removeprefix(BYTE_ORDER_MARK) if index == 0 else line
                if line.strip():
                    yield index, line.removesuffix(b"\n")

    return Rows(sum(1 for _ in lines()), (json_line(index, line) for index, line in lines()))


def _json_array(open_file: Open) -> Rows:
    with open_file() as file:
        array = json.loads(file.read().removeprefix(BYTE_ORDER_MARK), object_pairs_hook=_without_duplicates)
    if not isinstance(array, list):
        raise ValueError("it is not an array of objects (a file with one object per line should end in .jsonl)")
    rows = (
        Row(index, row, reason=None if isinstance(row, Mapping) else f"element {index + 1} is not a JSON object")
        for index, row in enumerate(array)
    )
    return Rows(len(array), rows)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, or refuse duplicate keys, of which json itself keeps the last."""
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object has the duplicate key {key}")
    return mapping


def _parquet(open_file: Open) -> Rows:
    # Not by polars: of a damaged file it may ask for more memory than there is, and then the process ends at once.
    def rows() -> Iterator[Row]:
        start = 0
        with open_file() as file:
            for batch in parquet.ParquetFile(file).iter_batches(BATCH, use_threads=False):
                yield from table_rows(batch, start)
                start += batch.num_rows

    with open_file() as file:
        found = parquet.ParquetFile(file)
        ((name, times),) = Counter(found.schema_arrow.names).most_common(1) or [("", 1)]
        if times > 1:
            raise ValueError(f"it has the duplicate column {name}")
        return Rows(found.metadata.num_rows, rows())


def table_rows(batch: RecordBatch, start: int) -> Iterator[Row]:
    """Yield the rows of a part of a table, counted from `start`.

    One with a value that Python does not have, such as text that is not UTF-8 or the year 100,000, has a reason.
    """
    try:
        yield from (Row(start + place, unfilled(row)) for place, row in enumerate(batch.to_pylist()))
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield Row(start, "", reason=f"row {start + 1} has a value that cannot be read: {error}")
        else:
            for place in range(batch.num_rows):
                yield from table_rows(batch.slice(place, 1), start + place)


def unfilled(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of a table without nulls inside its objects: there each object has the keys of all others."""
    return {key: _unfilled(value) for key, value in row.items()}


def _unfilled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _unfilled(part) for key, part in value.items() if part is not None}
    return [_unfilled(part) for part in value] if isinstance(value, list) else value


_READERS: dict[str, Callable[[Open], Rows]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json_array,
    ".json.gz": _json_array,
    ".parquet": _parquet,
}
