"""Files as users have them: each ends in examples, in rejected rows with reasons, or in one error that names it."""

import gzip
import io
import json
import os
import pickle
import zipfile

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from moesift.config import Source
from moesift.data.pool import CONTENT_LENGTH, REASON_LENGTH, REJECTED, to_examples
from moesift.data.rows import Row, SourceError
from moesift.data.sources import read_source
from moesift.errors import UserError

FAST = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def exchange(instruction, response):
    return [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]


def lines(*rows):
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


def alpaca(instruction, output, **more):
    return lines({"instruction": instruction, "output": output, **more})


def table(**columns):
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


def arrow(*columns):
    """Any columns that the format can have, each a name with values: also two of one name."""
    file, (names, values) = io.BytesIO(), zip(*columns, strict=True)
    parquet.write_table(pa.Table.from_arrays(values, names), file)
    return file.getvalue()


INSTRUCTION, OUTPUT = ("instruction", pa.array(["a", "c"])), ("output", pa.array(["b", "d"]))
BROKEN = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"d"]).buffers())
A, B = alpaca("a", "b"), alpaca("c", "d")
AB, CD = exchange("a", "b"), exchange("c", "d")
LONG = "x" * 1_000_000
PARQUET = table(instruction=["a", "c"], output=["b", "d"])
FORMATS = {"hard": "auto", "good": "auto"}

# Name of the case, name of the file, its bytes, and the outcome of its rows by their number: the messages of an
# example, or the beginning of a reason. A string instead is part of the one error.
CASES = [
    # The bytes of a line.
    ("broken UTF-8", "x.jsonl", lines(A, b'{"a": "\xff"}'), {0: AB, 1: "line 2 is not UTF-8: invalid start byte"}),
    ("a surrogate in UTF-8", "x.jsonl", b'{"a": "\xed\xa0\x80"}', {0: "line 1 is not UTF-8: invalid continuation"}),
    ("UTF-16", "x.jsonl", '{"a": 1}'.encode("utf-16"), {0: "line 1 is not UTF-8: invalid start byte at byte 0"}),
    ("byte order mark", "x.jsonl", b"\xef\xbb\xbf" + A, {0: AB}),
    ("two byte order marks", "x.jsonl", b"\xef\xbb\xbf" * 2 + A, {0: "line 1 is not JSON: Unexpected UTF-8 BOM"}),
    ("CRLF", "x.jsonl", A + b"\r\n" + B + b"\r\n", {0: AB, 1: CD}),
    ("CR alone", "x.jsonl", A + b"\r" + B, {0: "line 1 is not JSON: Extra data"}),
    ("blank lines", "x.jsonl", b"\n  \n" + A + b"\n\t\r\n\n" + B + b"\n\n", {2: AB, 5: CD}),
    ("a line separator in a string", "x.jsonl", '{"prompt":"a\u2028","completion":"b\x85"}'.encode(),
     {0: exchange("a\u2028", "b\x85")}),
    ("NUL bytes", "x.jsonl", lines(A, b'{"a": "\0"}', b"\0\0\0"),
     {0: AB, 1: "line 2 is not JSON: Invalid control character", 2: "line 3 is not JSON: Expecting value"}),
    # The JSON of a line.
    ("trailing comma", "x.jsonl", b'{"instruction": "a", "output": "b",}', {0: "line 1 is not JSON: "}),
    ("a Python dict", "x.jsonl", b"{'instruction': 'a', 'output': 'b'}", {0: "line 1 is not JSON: Expecting property"}),
    ("scalars", "x.jsonl", b'1\n"a"\nnull\ntrue', dict.fromkeys(range(4), "line ")),
    ("two objects in a line", "x.jsonl", A + B, {0: "line 1 is not JSON: Extra data"}),
    ("an object over two lines", "x.jsonl", b'{"instruction": "a",\n"output": "b"}',
     {0: "line 1 is not JSON: Expecting property", 1: "line 2 is not JSON: Extra data"}),
    ("an array in a line", "x.jsonl", b"[" + A + b"]", {0: "line 1 is not a JSON object"}),
    ("an array over lines", "x.jsonl", b"[\n" + A + b",\n" + B + b"\n]",
     {0: "line 1 is not JSON", 1: "line 2 is not JSON: Extra data", 2: CD, 3: "line 4 is not JSON"}),
    ("a duplicate key", "x.jsonl", lines(b'{"instruction": "a", "output": "b", "output": "c"}', A),
     {0: "line 1 is not JSON: an object has the duplicate key output", 1: AB}),
    ("a duplicate key in a turn", "x.jsonl", b'{"messages": [{"role": "user", "content": "a", "role": "system"}]}',
     {0: "line 1 is not JSON: an object has the duplicate key role"}),
    ("NaN and Infinity beside the text", "x.jsonl", b'{"instruction": "a", "output": "b", "x": [NaN, -Infinity]}',
     {0: AB}),
    ("NaN for text", "x.jsonl", b'{"instruction": "a", "output": NaN}', {0: "output is a number, not a string"}),
    ("an integer beyond Python", "x.jsonl", lines(b'{"x": ' + b"9" * 5000 + b"}", A),
     {0: "line 1 is not JSON: Exceeds the limit", 1: AB}),
    ("deep nesting", "x.jsonl", lines(b"[" * 100_000, b'{"a":' * 100_000, A),
     {0: "line 1 is not JSON: maximum recursion", 1: "line 2 is not JSON: maximum recursion", 2: AB}),
    ("some nesting beside the text", "x.jsonl", alpaca("a", "b", x=json.loads("[" * 50 + "]" * 50)), {0: AB}),
    ("a million characters", "x.jsonl", lines(alpaca("a", LONG), A), {0: exchange("a", LONG), 1: AB}),
    ("a million characters of no JSON", "x.jsonl", lines(LONG.encode(), A), {0: "line 1 is not JSON", 1: AB}),
    ("a key of a million characters", "x.jsonl", lines({LONG: "b"}), {0: "fits no format"}),
    ("a role of a million characters", "x.jsonl", lines({"messages": [{"role": LONG}]}), {0: "messages[0].role is 'x"}),
    ("half a pair in a key", "x.jsonl", lines({"\ud800": "a"}), {0: "fits no format"}),
    ("a terminal's commands in a key", "x.jsonl", lines({"\x1b[2J\n\r": "a"}), {0: "fits no format"}),
    # Several rows.
    ("equal rows", "x.jsonl", lines(A, A, alpaca("a", "b", id=7)), {0: AB, 1: AB, 2: AB}),
    ("a format for each row", "x.jsonl", lines({"messages": AB}, {"prompt": "c", "completion": "d"}, {"text": "g"}),
     {0: AB, 1: CD, 2: "fits no format"}),
    ("an empty file", "x.jsonl", b"", "hard: there are no rows in "),
    ("white space alone", "x.jsonl", b" \n\t\r\n\n", "hard: there are no rows in "),
    ("a byte order mark alone", "x.jsonl", b"\xef\xbb\xbf", "hard: there are no rows in "),
    # Compressed files.
    ("gzip that ends early", "x.jsonl.gz", gzip.compress(A * 9)[:-9],
     "cannot be read as .jsonl.gz: Compressed file ended"),
    ("gzip with another checksum", "x.jsonl.gz", gzip.compress(A)[:-8] + bytes(8), "as .jsonl.gz: CRC check failed"),
    ("gzip in name alone", "x.jsonl.gz", A, "cannot be read as .jsonl.gz: Not a gzipped file"),
    ("gzip of nothing", "x.jsonl.gz", gzip.compress(b""), "hard: there are no rows in "),
    ("gzip in two parts", "x.jsonl.gz", gzip.compress(A + b"\n") + gzip.compress(B), {0: AB, 1: CD}),
    ("gzip that is not named so", "x.jsonl", gzip.compress(A, mtime=0), {0: "line 1 is not UTF-8"}),
    # JSON files.
    ("an array", "x.json", b"[" + A + b", 7, null]",
     {0: AB, 1: "element 2 is not a JSON", 2: "element 3 is not a JSON"}),
    ("an array in gzip", "x.json.gz", gzip.compress(b"[" + A + b"]"), {0: AB}),
    ("an array behind a byte order mark", "x.json", b"\xef\xbb\xbf[" + A + b"]", {0: AB}),
    ("an array in UTF-16", "x.json", f"[{A.decode()}]".encode("utf-16"), {0: AB}),
    ("an array in broken UTF-8", "x.json", b'["\xff"]', "x.json cannot be read as .json: 'utf-8' codec can't decode"),
    ("an array that ends early", "x.json", b"[" + A, "x.json cannot be read as .json: Expecting ',' delimiter"),
    ("an array of nothing", "x.json", b"[]", "hard: there are no rows in "),
    ("an empty JSON file", "x.json", b"", "x.json cannot be read as .json: Expecting value"),
    ("an object", "x.json", A, "it is not an array of objects (a file with one object per line should end in .jsonl)"),
    ("JSON lines named .json", "x.json", lines(A, B), "x.json cannot be read as .json: Extra data"),
    ("a deep array", "x.json", b"[" * 100_000, "x.json cannot be read as .json: maximum recursion depth"),
    ("a duplicate key in an array", "x.json", b'[{"a": 1, "a": 2}]', "as .json: an object has the duplicate key a"),
    # Tables.
    ("a table", "x.parquet", PARQUET, {0: AB, 1: CD}),
    ("a table that ends early", "x.parquet", PARQUET[:-20], "x.parquet cannot be read as .parquet: "),
    ("a table of text", "x.parquet", A, "x.parquet cannot be read as .parquet: "),
    ("an empty table", "x.parquet", b"", "x.parquet cannot be read as .parquet: "),
    ("a table without rows", "x.parquet", table(instruction=[], output=[]), "hard: there are no rows in "),
    ("numbers in a table", "x.parquet", table(instruction=["a"], output=[1.5]), {0: "output is a number, not"}),
    ("null turns in a table", "x.parquet", table(messages=[AB, None, [None, AB[1]]]),
     {0: AB, 1: "messages is null, not a list", 2: "messages[0] is null, not an object"}),
    ("categories in a table", "x.parquet", table(instruction=pl.Series(["a"], dtype=pl.Categorical), output=["b"]),
     {0: AB}),
    ("a column twice in a table", "x.parquet", arrow(INSTRUCTION, OUTPUT, OUTPUT),
     "x.parquet cannot be read as .parquet: it has the duplicate column output"),
    ("text of a table in broken UTF-8", "x.parquet", arrow(INSTRUCTION, ("output", BROKEN)),
     {0: "row 1 has a value that cannot be read: 'utf-8' codec", 1: CD}),
    ("a date beyond Python in a table", "x.parquet",
     arrow(INSTRUCTION, OUTPUT, ("at", pa.array([0, 2**62], pa.timestamp("us")))),
     {0: AB, 1: "row 2 has a value that cannot be read: date value out of range"}),
    ("two formats in a table", "x.parquet", table(messages=[AB, None], prompt=[None, "c"], completion=[None, "d"]),
     {0: AB, 1: CD}),
    # Names of files.
    ("another format", "x.csv", b"instruction,output\na,b\n",
     "x.csv should end in one of .jsonl, .jsonl.gz, .json, .json.gz, .parquet"),
    ("an ending in capitals", "x.JSONL", A, "x.JSONL should end in one of .jsonl"),
    ("white space and Unicode in a name", "mein Ordner 🙂\u2028/ö 'x\".jsonl", A, {0: AB}),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_row_is_an_example_or_rejected_or_the_file_is_one_error(tmp_path, file, content, outcome):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    source = Source(name="hard", path=str(path))
    if isinstance(outcome, str):
        with pytest.raises(UserError) as error:
            list(read_source(source, 0, tmp_path))
        assert outcome in str(error.value)
        assert str(path) in str(error.value)
        return
    good = [Row(0, {"prompt": "asked", "completion": "told"})]  # no example at all would be an error
    examples, rejected = to_examples({"hard": read_source(source, 0, tmp_path), "good": good}, FORMATS)
    kept = dict(examples.filter(source="hard").select("source_index", "messages").iter_rows())
    assert kept == {row: messages for row, messages in outcome.items() if isinstance(messages, list)}
    reasons = dict(rejected.select("row", "reason").iter_rows())
    assert set(reasons) == set(outcome) - set(kept)
    for row, reason in reasons.items():
        assert reason.startswith(outcome[row])
        assert reason.isprintable()
        assert len(reason) <= REASON_LENGTH + 1
    assert all(len(content) <= CONTENT_LENGTH for content in rejected["content"])


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda path: None, "x.jsonl", "x.jsonl is not a file"),
        (lambda path: path.mkdir(), "x.jsonl", "x.jsonl is not a file"),
        (lambda path: path.symlink_to(path), "x.jsonl", "x.jsonl is not a file"),
        (lambda path: os.mkfifo(path), "x.jsonl", "x.jsonl is not a file"),
        (lambda path: None, "x" * 300, "is not a file"),
        (lambda path: None, "x\0.jsonl", "is not a file"),
        (lambda path: None, "\ud800.jsonl", "has half a surrogate pair"),
    ],
    ids=["missing", "folder", "link to itself", "pipe", "long name", "NUL", "half a pair"],
)
def test_a_path_that_is_not_a_file_is_refused(tmp_path, make, name, message):
    make(tmp_path / name)
    with pytest.raises(ValidationError, match=message):
        Source(name="hard", path=str(tmp_path / name))


@pytest.fixture
def unprivileged():
    """Root may read everything, so it becomes nobody for the test."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_source_without_permission_is_one_error(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("closed")
    path = folder / "x.jsonl"
    path.write_bytes(A)
    source = Source(name="hard", path=str(path))
    path.chmod(0)
    folder.chmod(0o755 if os.geteuid() else 0)
    request.getfixturevalue("unprivileged")
    with pytest.raises(SourceError, match=r"x.jsonl cannot be read: .*Permission denied"):
        list(read_source(source, 0, folder))
    if os.getuid() == 0:  # a closed folder does not even say whether the file is there
        with pytest.raises(ValidationError, match="is not a file"):
            Source(name="hard", path=str(path))


@pytest.mark.parametrize("file", ["../x.jsonl", "/etc/x.jsonl", "a/../../x.jsonl"])
def test_a_file_outside_of_the_data_set_is_refused(file):
    with pytest.raises(ValidationError, match="points outside the data set"):
        Source(name="hard", hub="owner/name", file=file)


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_zip_writes_nothing_wherever_its_names_lead(tmp_path):
    (tmp_path / "set").mkdir()
    zipped(tmp_path / "set" / "x.zip", **{"../../evil.jsonl": A, "/abs/olute.jsonl": B, "x/../../up.jsonl": A})
    before = sorted(tmp_path.rglob("*"))
    for member, expected in (("evil.jsonl", A), ("olute.jsonl", B)):
        (row,) = read_source(Source(name="hard", hub=str(tmp_path / "set"), file="x.zip", member=member), 0, tmp_path)
        assert row.content == json.loads(expected)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_with_a_password_is_one_error(tmp_path):
    zipped(tmp_path / "x.zip", **{"a.jsonl": A})
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1  # says that the entry is encrypted
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(SourceError, match=r"x.zip cannot be read as .zip: .*password required"):
        list(read_source(Source(name="hard", hub=str(tmp_path), file="x.zip", member="a.jsonl"), 0, tmp_path))


class Creates:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_of_a_data_set_is_run(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    trace, folder = tmp_path / "ran", tmp_path / "set"
    folder.mkdir()
    (folder / "set.py").write_text(f"import os\nos.mkdir({str(trace)!r})\n")
    (folder / "train.pkl").write_bytes(pickle.dumps(Creates(trace)))
    with pytest.raises(SourceError, match=r"set, split train, cannot be loaded as a data set of the hub: "):
        list(read_source(Source(name="hard", hub=str(folder)), 0, tmp_path))
    for name in ("train.pkl", "set.py"):
        with pytest.raises(SourceError, match=f"{name} should end in one of .jsonl"):
            list(read_source(Source(name="hard", hub=str(folder), file=name), 0, tmp_path))
    assert not trace.exists()
    pickle.loads((folder / "train.pkl").read_bytes())  # so it would have been seen
    assert trace.exists()


JSON_ROWS = st.dictionaries(st.sampled_from(["prompt", "completion"]) | st.text(), st.text() | st.none(), max_size=3)
LINE = (
    st.binary(max_size=30)
    | JSON_ROWS.map(lambda row: json.dumps(row).encode())
    | st.sampled_from([A, B, b"", b"\xef\xbb\xbf", b"\r", b"[" * 995 + b"]" * 995, b'{"a":' * 400 + b"1" + b"}" * 400])
)


@FAST
@given(st.lists(LINE, max_size=6))
def test_every_line_of_any_file_is_accounted_for(tmp_path, content):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join([A, *content]))
    rows = {"hard": list(read_source(Source(name="hard", path=str(path)), 0, tmp_path))}
    expected = [number for number, line in enumerate(path.read_bytes().split(b"\n")) if line.strip()]
    assert [row.index for row in rows["hard"]] == expected
    examples, rejected = to_examples(rows, FORMATS)
    assert sorted([*examples["source_index"], *rejected["row"]]) == expected
    rejected.write_parquet(tmp_path / "rejected.parquet")
    assert pl.read_parquet(tmp_path / "rejected.parquet").equals(rejected)
    assert rejected.schema == REJECTED


def archive(name):
    file = io.BytesIO()
    if name == "x.zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("a.jsonl", A * 20)
        return file.getvalue()
    return {"x.jsonl.gz": gzip.compress(A * 20), "x.parquet": PARQUET}[name]


@FAST
@given(
    st.sampled_from(["x.jsonl.gz", "x.parquet", "x.zip"]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    st.floats(0, 1),
)
def test_a_damaged_file_is_rows_or_one_error(tmp_path, name, changes, kept):
    content = bytearray(archive(name))
    for place, value in changes:
        content[int(place * len(content))] = value
    (tmp_path / name).write_bytes(content[: round(kept * len(content))] if not changes else content)
    member = {"member": "a.jsonl"} if name == "x.zip" else {}
    try:
        assert list(read_source(Source(name="hard", hub=str(tmp_path), file=name, **member), 0, tmp_path))
    except SourceError as error:
        assert name in str(error)  # noqa: PT017
