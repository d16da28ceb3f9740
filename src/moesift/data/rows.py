"""The rows of a file of JSON lines, of one JSON array or of parquet, as they are: one after the other."""

import gzip
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import IO, Any, NamedTuple

from pyarrow import ArrowException, parquet

from moesift.errors import UserError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BATCH = 4096  # rows of a parquet file that are read at once

Open = Callable[[], AbstractContextManager[IO[bytes] | gzip.GzipFile]]  # each call begins a file anew


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


class Rows(NamedTuple):
    """The rows of a source: how many, and each as it is asked for, so that they need not all be in memory."""

    count: int
    each: Iterator[Row]


def parsed(name: str, opened: Open) -> Rows:
    """Return the rows of a file, read as its ending says.

    Args:
        name: of the file, which errors name.
        opened: opens it, once to count its rows and once more to read them.

    Raises:
        SourceError: it cannot be read, or has an unknown ending. What is broken further on is met when it is reached.
    """
    for ending, read in _READERS.items():
        if name.endswith(ending):
            try:
                count, rows = read(partial(_unzipped, opened) if ending.endswith(".gz") else opened)
            except UNREADABLE as error:
                raise SourceError(f"{name} cannot be read as {ending}: {error}") from error
            return Rows(count, _told(rows, f"{name} cannot be read as {ending}"))
    raise SourceError(f"{name} should end in one of {', '.join(_READERS)}")


def _told(rows: Iterator[Row], failure: str) -> Iterator[Row]:
    try:
        yield from rows
    except UNREADABLE as error:
        raise SourceError(f"{failure}: {error}") from error


def _json_lines(opened: Open) -> Rows:
    def lines() -> Iterator[tuple[int, bytes]]:
        with opened() as file:
            for index, line in enumerate(file):
                line = line.removeprefix(BYTE_ORDER_MARK) if index == 0 else line
                if line.strip():
                    yield index, line.removesuffix(b"\n")

    return Rows(sum(1 for _ in lines()), (json_line(index, line) for index, line in lines()))


@contextmanager
def _unzipped(opened: Open) -> Generator[gzip.GzipFile]:
    with opened() as file, gzip.GzipFile(fileobj=file) as content:
        yield content


def json_line(index: int, line: bytes) -> Row:
    """Return the row that a line of JSON is, or the reason why it is none."""
    try:
        content = json.loads(line.decode(), object_pairs_hook=_object)
        if isinstance(content, Mapping):
            return Row(index, content)
        why = "not a JSON object"
    except UnicodeDecodeError as error:
        why = f"not UTF-8: {error.reason} at byte {error.start}"
    except (ValueError, RecursionError) as error:
        why = f"not JSON: {error}"
    return Row(index, line.decode(errors="replace"), reason=f"line {index + 1} is {why}")


def _json_array(opened: Open) -> Rows:
    with opened() as file:
        array = json.loads(file.read().removeprefix(BYTE_ORDER_MARK), object_pairs_hook=_object)
    if not isinstance(array, list):
        raise ValueError("it holds no array of objects (a file with one object a line should end in .jsonl)")
    rows = (
        Row(index, row, reason=None if isinstance(row, Mapping) else f"element {index + 1} is not a JSON object")
        for index, row in enumerate(array)
    )
    return Rows(len(array), rows)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; json itself keeps the last of equal keys and drops the others."""
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has the key {repeated} twice")
    return found


def _parquet(opened: Open) -> Rows:
    # Not by polars: of a damaged file it may ask for more memory than there is, and then the process ends at once.
    def rows() -> Iterator[dict[str, Any]]:
        with opened() as file:
            for batch in parquet.ParquetFile(file).iter_batches(BATCH, use_threads=False):
                yield from batch.to_pylist()

    with opened() as file:
        count = parquet.ParquetFile(file).metadata.num_rows
    return Rows(count, (Row(index, row) for index, row in enumerate(rows())))


# What the readers of broken archives and tables raise; the last two of a date after the year 9999 and of a time zone
# that nobody knows.
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

_READERS: dict[str, Callable[[Open], Rows]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".json": _json_array,
    ".json.gz": _json_array,
    ".parquet": _parquet,
}
