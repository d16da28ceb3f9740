"""Rows of files that the table of test_hard_input.py does not have: their text, their dates, and when they are read."""

import gzip
import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moesift.data.rows import Row, SourceError, parse

LINES = b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n{"a": "\xff"}\n[1]\r\n{"a": "\xe2\x80\xa8"}'


@pytest.mark.parametrize(("name", "pack"), [("x.jsonl", bytes), ("x.jsonl.gz", gzip.compress)])
def test_a_broken_line_costs_only_itself_and_keeps_its_text(name, pack):
    count, rows = parse(name, lambda: io.BytesIO(pack(LINES)))
    assert count == 5
    assert list(rows) == [
        Row(0, {"a": 1}),
        Row(2, '{"a": ', reason="line 3 is not JSON: Expecting value: line 1 column 7 (char 6)"),
        Row(3, '{"a": "\ufffd"}', reason="line 4 is not UTF-8: invalid start byte at byte 7"),
        Row(4, "[1]\r", reason="line 5 is not a JSON object"),
        Row(5, {"a": "\u2028"}),
    ]


def test_dates_of_an_unknown_time_zone_are_one_error():
    """Even in a column that is not read."""
    file = io.BytesIO()
    kind = pa.timestamp("s", tz="Mars/Olympus")
    pq.write_table(pa.table({"prompt": ["a"], "created": pa.array([0], kind)}), file)
    with pytest.raises(SourceError, match=r"x\.parquet cannot be read as \.parquet: "):
        list(parse("x.parquet", lambda: io.BytesIO(file.getvalue())).each)


def test_damage_further_on_is_raised_when_it_is_reached():
    """The footer of the parquet is sound, its second row group is not."""
    file = io.BytesIO()
    pl.DataFrame({"a": [f"{number:05}" for number in range(8192)]}).write_parquet(
        file, row_group_size=4096, compression="uncompressed"
    )
    content = bytearray(file.getvalue())
    start, end = content.index(b"04100"), content.index(b"08000")
    content[start:end] = b"\xff" * (end - start)
    count, rows = parse("x.parquet", lambda: io.BytesIO(content))
    assert count == 8192
    assert next(rows) == Row(0, {"a": "00000"})
    with pytest.raises(SourceError, match=r"x\.parquet cannot be read as \.parquet: "):
        list(rows)


def test_lines_are_read_one_by_one():
    opened = []

    class Lines(io.BytesIO):
        def __init__(self):
            super().__init__(b'{"a": 1}\n' * 3)
            opened.append(self)

    count, rows = parse("x.jsonl", Lines)
    assert (count, len(opened), opened[0].closed) == (3, 1, True)
    next(rows)
    assert opened[1].tell() == 9
