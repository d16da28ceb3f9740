"""Scores that come from elsewhere: a number in the rows of a source, or a file of scores for the pool.

Rows that bring scores give the pool a column for each, `score:NAME`, null where a row brings none. A file has a row for
each example that it scores, by `id`, or by `source` and `row` (which are `source` and `source_index` of the pool).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from moesift.data.keys import Rejected
from moesift.data.rows import parse
from moesift.errors import UserError
from moesift.files import require_parquet
from moesift.passes.columns import BROUGHT

KEYS = (("id",), ("source", "row"))
TYPES = {"id": pl.String, "source": pl.String, "row": pl.Int64}
KINDS = {"id": "a text", "source": "a text and a whole number"}
LISTED = 20  # columns of a file that an error lists
SHOWN = 40  # characters of a value that an error quotes


def schema_of(scores: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the columns of the pool for the scores that the rows of each source bring."""
    return {f"{BROUGHT}{name}": pl.Float64() for names in scores.values() for name in names}


def brought(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, float | None]:
    """Return the scores of a row by the column of the pool, null where it has none.

    Raises:
        Rejected: one is no finite number.
    """
    found: dict[str, float | None] = {}
    for name in names:
        value = row.get(name)
        if value is not None and (number := _finite(value)) is None:
            raise Rejected(f"{name} is {repr(value)[:SHOWN]}, and `scores` takes a finite number, or null for none")
        found[f"{BROUGHT}{name}"] = None if value is None else number
    return found


def require_scores(examples: pl.LazyFrame, scores: Mapping[str, Sequence[str]]) -> None:
    """Check that each source brings the scores that are asked of it.

    Args:
        examples: columns source and those of `schema_of`.
        scores: names by source.

    Raises:
        UserError: names the source and the key that no row of it has.
    """
    for source, names in scores.items():
        counts = examples.filter(source=source).select(pl.col(f"{BROUGHT}{name}").count() for name in names).collect()
        if missing := [name for name in names if not counts[f"{BROUGHT}{name}"].item()]:
            raise UserError(
                f"data.sources: {source}: scores: no row that can be used has a number in {', '.join(missing)}; is the "
                "name that of a key of the row itself?"
            )


def read_scores(path: Path, column: str, examples: pl.DataFrame) -> pl.Series:
    """Return the scores that a file has for N examples of the pool, (N,) Float64, null where it has none.

    Args:
        path: .parquet, .csv or .jsonl.
        column: of the scores.
        examples: columns id, source and source_index.

    Raises:
        UserError: the file or the column is not there, a score is no finite number, a row has no key or that of another
            row, or no row is of these examples.
    """
    if path.suffix not in _READERS:
        raise UserError(f"{path}: a file of scores should end in one of {', '.join(_READERS)}")
    if not path.is_file():
        raise UserError(f"{path}: is not a file; `path` of the method `external` names a file of scores")
    given = _READERS[path.suffix](path, column)
    keys = tuple(given.columns[1:-2])
    named = " and ".join(keys)
    for row in given.filter(pl.any_horizontal(pl.col(keys).is_null())).head(1).iter_rows(named=True):
        raise UserError(f"{path}: row {row['at']}: {named} should be {KINDS[keys[0]]}, and something else is there")
    for row in given.filter(pl.col("wrong").is_not_null()).head(1).iter_rows(named=True):
        raise UserError(
            f"{path}: row {row['at']} ({_key(row, keys)}): {column} is {row['wrong'][:SHOWN]}, and should be a finite "
            "number; leave it empty where there is no score"
        )
    for row in given.filter(~pl.struct(keys).is_first_distinct()).head(1).iter_rows(named=True):
        raise UserError(f"{path}: row {row['at']} ({_key(row, keys)}): a row before it has the same {named}; keep one")
    wanted = examples.select("id", "source", row="source_index")
    found = wanted.join(given, on=keys, how="left", maintain_order="left")["score"]
    if given["score"].count() and not found.count():
        example = wanted.select(keys).row(0)
        raise UserError(
            f"{path}: none of its {given.height} rows is of the pool, in which {named} is for example "
            f"{' and '.join(map(str, example))}; take them from data/pool.parquet of this experiment"
        )
    return found


def _keys(path: Path, columns: Sequence[str], column: str) -> tuple[str, ...]:
    """Return by what a file names examples."""
    listed = ", ".join(columns[:LISTED]) + (f" and {len(columns) - LISTED} more" if len(columns) > LISTED else "")
    if column not in columns:
        raise UserError(f"{path}: has no column {column}, only {listed or 'none'}; name the one of the scores")
    for keys in KEYS:
        if all(key in columns for key in keys):
            return keys
    raise UserError(f"{path}: needs a column id, or source and row, which say whose score it is; it has {listed}")


def _parquet(path: Path, column: str) -> pl.DataFrame:
    """Return the columns at (number of the row, from 1), the keys, score, and wrong: what is no score, as text."""
    kinds = pl.read_parquet_schema(require_parquet(path))
    keys = _keys(path, list(kinds), column)
    if not (kinds[column].is_numeric() or kinds[column] == pl.Null):
        raise UserError(f"{path}: its column {column} is of type {kinds[column]}, and scores are numbers")
    frame = pl.read_parquet(path, columns=list(dict.fromkeys([*keys, column])))
    return _checked(frame, keys, column)


def _csv(path: Path, column: str) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema=False)  # ids of digits alone are no numbers
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path}: cannot be read as CSV: {error}") from None
    return _checked(frame, _keys(path, frame.columns, column), column)


def _checked(frame: pl.DataFrame, keys: Sequence[str], column: str) -> pl.DataFrame:
    """Return the columns of `_parquet`, of numbers or of texts that should be some; an empty text is none."""
    value = pl.col(column)
    if frame.schema[column] == pl.String:
        stripped = value.str.strip_chars()
        value = pl.when(stripped != "").then(stripped)
    number = value.cast(pl.Float64, strict=False)
    return frame.select(
        pl.int_range(1, pl.len() + 1).alias("at"),
        *(pl.col(key).cast(TYPES[key], strict=False) for key in keys),
        number.alias("score"),
        pl.when(value.is_not_null() & ~number.is_finite().fill_null(False)).then(value.cast(pl.String)).alias("wrong"),
    )


def _json_lines(path: Path, column: str) -> pl.DataFrame:
    rows, columns = [], dict[str, None]()
    for row in parse(str(path), lambda: path.open("rb")).each:
        if row.reason is not None:
            raise UserError(f"{path}: {row.reason}")
        columns |= dict.fromkeys(row.content)
        rows.append((row.index, row.content))
    keys = _keys(path, list(columns), column)
    kinds = {"id": str, "source": str, "row": int}
    checked = []
    for index, row in rows:
        given = (row.get(key) for key in keys)
        own = [value if type(value) is kinds[key] else None for key, value in zip(keys, given, strict=True)]
        value = row.get(column)
        number = _finite(value)
        checked.append((index + 1, *own, number, None if value is None or number is not None else repr(value)))
    schema = {"at": pl.Int64, **{key: TYPES[key] for key in keys}, "score": pl.Float64, "wrong": pl.String}
    return pl.DataFrame(checked, schema=schema, orient="row")


_READERS = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}


def _finite(value: Any) -> float | None:
    """Return a number as one of floating point, None for what is none or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except (OverflowError, ValueError):
        return None


def _key(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {row[key]}" for key in keys)
