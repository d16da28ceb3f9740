import gzip
import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moesift.data.rows import Row, SourceError, parsed


def read(name, content):
    count, each = parsed(name, lambda: io.BytesIO(content))
    rows = list(each)
    assert len(rows) == count
    return rows


LINES = b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n{"a": "\xff"}\n[1]\r\n{"a": "\xe2\x80\xa8"}'


@pytest.mark.parametrize(("name", "pack"), [("x.jsonl", bytes), ("x.jsonl.gz", gzip.compress)])
def test_broken_lines_cost_only_themselves(name, pack):
    assert read(name, pack(LINES)) == [
        Row(0, {"a": 1}),
        Row(2, '{"a": ', reason="line 3 is not JSON: Expecting value: line 1 column 7 (char 6)"),
        Row(3, '{"a": "\ufffd"}', reason="line 4 is not UTF-8: invalid start byte at byte 7"),
        Row(4, "[1]\r", reason="line 5 is not a JSON object"),
        Row(5, {"a": "\u2028"}),
    ]


def test_json_array():
    rows = [Row(0, {"a": 1}), Row(1, 7, reason="element 2 is not a JSON object")]
    assert read("x.json", b'[{"a": 1}, 7]') == rows
    assert read("x.json.gz", gzip.compress(b'[{"a": 1}, 7]')) == rows


def test_parquet():
    file = io.BytesIO()
    turns = [[{"role": "user", "content": "a"}], None]
    pl.DataFrame({"messages": turns}).write_parquet(file)
    assert read("x.parquet", file.getvalue()) == [Row(n, {"messages": given}) for n, given in enumerate(turns)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl.gz", b"plain", "x.jsonl.gz cannot be read as .jsonl.gz: Not a gzipped file"),
        (
            "x.jsonl.gz",
            gzip.compress(b"cut" * 99)[:-9],
            "x.jsonl.gz cannot be read as .jsonl.gz: Compressed file ended",
        ),
        ("x.json", b'{"a": 1}', r"x.json cannot be read as .json: it holds no array .* should end in .jsonl\)"),
        ("x.json", b'{"a": 1}\n{"a": 2}', "x.json cannot be read as .json: Extra data"),
        ("x.parquet", b"PAR0", "x.parquet cannot be read as .parquet: "),
        ("x.csv", b"a", "x.csv should end in one of .jsonl, .jsonl.gz, .json, .json.gz, .parquet"),
    ],
)
def test_an_unreadable_file_is_one_error_that_names_it(name, content, message):
    with pytest.raises(SourceError, match=message):
        read(name, content)


@pytest.mark.parametrize(
    ("kind", "wrong"), [(pa.timestamp("s"), 300_000_000_000), (pa.timestamp("s", tz="Mars/Olympus"), 0)]
)
def test_a_date_that_python_cannot_hold_is_one_error(kind, wrong):
    """Of a column that nobody asked for, too."""
    file = io.BytesIO()
    pq.write_table(pa.table({"prompt": ["a"], "created": pa.array([wrong], kind)}), file)
    with pytest.raises(SourceError, match=r"x\.parquet cannot be read as \.parquet: "):
        read("x.parquet", file.getvalue())


def test_what_is_broken_further_on_is_met_there():
    """The footer of the parquet is sound, its second row group is not."""
    file = io.BytesIO()
    pl.DataFrame({"a": [f"{number:05}" for number in range(8192)]}).write_parquet(
        file, row_group_size=4096, compression="uncompressed"
    )
    content = bytearray(file.getvalue())
    places = content.index(b"04100"), content.index(b"08000")
    content[places[0] : places[1]] = b"\xff" * (places[1] - places[0])
    count, each = parsed("x.parquet", lambda: io.BytesIO(content))
    assert count == 8192
    assert next(each) == Row(0, {"a": "00000"})
    with pytest.raises(SourceError, match=r"x\.parquet cannot be read as \.parquet: "):
        list(each)


def test_lines_are_read_as_they_are_asked_for():
    opened = []

    class Lines(io.BytesIO):
        def __init__(self):
            super().__init__(b'{"a": 1}\n' * 3)
            opened.append(self)

    count, each = parsed("x.jsonl", Lines)
    assert (count, len(opened), opened[0].closed) == (3, 1, True)
    next(each)
    assert opened[1].tell() == 9
