"""Input as the world has it: each file of the table ends in examples, in rejected rows and reasons, or in one error."""

import gzip
import io
import json
import os
import pickle
import sys
import zipfile
from datetime import date

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from moesift.config import Source
from moesift.data.formats import ROLES, Rejected, to_messages
from moesift.data.pool import REJECTED, to_examples, with_content
from moesift.data.rows import SourceError
from moesift.data.sources import read_source
from moesift.errors import UserError
from moesift.stages import prepare

FAST = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def exchange(instruction, response):
    return [turn("user", instruction), turn("assistant", response)]


def lines(*rows):
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


def messages(*turns):
    return lines({"messages": list(turns)})


def alpaca(instruction, output, **more):
    return lines({"instruction": instruction, "output": output, **more})


def sharegpt(*turns, **more):
    return lines({"conversations": [{"from": name, "value": value} for name, value in turns], **more})


def table(**columns):
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


A, B = alpaca("a", "b"), alpaca("c", "d")
AB, CD = exchange("a", "b"), exchange("c", "d")
ASKED = turn("user", "a")
TOLD = turn("assistant", "b")
LONG = "x" * 1_000_000
NO_FORMAT = "fits no format, known are messages (messages); conversations (sharegpt); "
PARQUET = table(instruction=["a", "c"], output=["b", "d"])

# Name of the case, name of the file, its bytes, and what becomes of its rows by their number: the messages of an
# example, or the beginning of the reason why it is none. A string in place of the rows is what the one error says.
CASES = [
    # The bytes of a line.
    ("broken UTF-8", "x.jsonl", lines(A, b'{"a": "\xff"}'), {0: AB, 1: "line 2 is not UTF-8: invalid start byte"}),
    ("a surrogate in UTF-8", "x.jsonl", b'{"a": "\xed\xa0\x80"}', {0: "line 1 is not UTF-8: invalid continuation"}),
    ("UTF-16", "x.jsonl", '{"a": 1}'.encode("utf-16"), {0: "line 1 is not UTF-8: invalid start byte at byte 0"}),
    ("Latin-1", "x.jsonl", '{"a": "é"}'.encode("latin-1"), {0: "line 1 is not UTF-8"}),
    ("byte order mark", "x.jsonl", b"\xef\xbb\xbf" + A, {0: AB}),
    ("two byte order marks", "x.jsonl", b"\xef\xbb\xbf" * 2 + A, {0: "line 1 is not JSON: Unexpected UTF-8 BOM"}),
    ("CRLF", "x.jsonl", A + b"\r\n" + B + b"\r\n", {0: AB, 1: CD}),
    ("CR alone", "x.jsonl", A + b"\r" + B, {0: "line 1 is not JSON: Extra data"}),
    ("blank lines", "x.jsonl", b"\n  \n" + A + b"\n\t\r\n\n" + B + b"\n\n", {2: AB, 5: CD}),
    ("a line separator in a string", "x.jsonl", '{"prompt":"a\u2028","completion":"b\x85"}'.encode(),
     {0: exchange("a\u2028", "b\x85")}),
    ("NUL bytes", "x.jsonl", lines(A, b'{"a": "\0"}', b"\0\0\0"),
     {0: AB, 1: "line 2 is not JSON: Invalid control character", 2: "line 3 is not JSON: Expecting value"}),
    ("a tab in a string", "x.jsonl", b'{"a": "\t"}', {0: "line 1 is not JSON: Invalid control character"}),
    # The JSON of a line.
    ("trailing comma", "x.jsonl", b'{"instruction": "a", "output": "b",}', {0: "line 1 is not JSON: "}),
    ("a Python dict", "x.jsonl", b"{'instruction': 'a', 'output': 'b'}", {0: "line 1 is not JSON: Expecting property"}),
    ("a comment", "x.jsonl", lines(b"// rows", A), {0: "line 1 is not JSON: Expecting value", 1: AB}),
    ("scalars", "x.jsonl", b'1\n"a"\nnull\ntrue', dict.fromkeys(range(4), "line ")),
    ("two objects in a line", "x.jsonl", A + B, {0: "line 1 is not JSON: Extra data"}),
    ("an object over two lines", "x.jsonl", b'{"instruction": "a",\n"output": "b"}',
     {0: "line 1 is not JSON: Expecting property", 1: "line 2 is not JSON: Extra data"}),
    ("an array in a line", "x.jsonl", b"[" + A + b"]", {0: "line 1 is not a JSON object"}),
    ("an array over lines", "x.jsonl", b"[\n" + A + b",\n" + B + b"\n]",
     {0: "line 1 is not JSON", 1: "line 2 is not JSON: Extra data", 2: CD, 3: "line 4 is not JSON"}),
    ("a key twice", "x.jsonl", lines(b'{"instruction": "a", "output": "b", "output": "c"}', A),
     {0: "line 1 is not JSON: an object has the key output twice", 1: AB}),
    ("a key twice in a turn", "x.jsonl", b'{"messages": [{"role": "user", "content": "a", "role": "system"}]}',
     {0: "line 1 is not JSON: an object has the key role twice"}),
    ("NaN and Infinity beside the text", "x.jsonl", b'{"instruction": "a", "output": "b", "x": [NaN, -Infinity]}',
     {0: AB}),
    ("NaN for text", "x.jsonl", b'{"instruction": "a", "output": NaN}', {0: "output is a number, not a string"}),
    ("a huge integer", "x.jsonl", b'{"instruction": "a", "output": ' + b"9" * 4000 + b"}",
     {0: "output is a number, not a string"}),
    ("an integer beyond Python", "x.jsonl", lines(b'{"x": ' + b"9" * 5000 + b"}", A),
     {0: "line 1 is not JSON: Exceeds the limit", 1: AB}),
    ("deep nesting", "x.jsonl", lines(b"[" * 100_000, b'{"a":' * 100_000, A),
     {0: "line 1 is not JSON: maximum recursion", 1: "line 2 is not JSON: maximum recursion", 2: AB}),
    ("some nesting beside the text", "x.jsonl", alpaca("a", "b", x=json.loads("[" * 50 + "]" * 50)), {0: AB}),
    ("a million characters", "x.jsonl", lines(alpaca("a", LONG), A), {0: exchange("a", LONG), 1: AB}),
    ("a million characters of no JSON", "x.jsonl", lines(LONG.encode(), A), {0: "line 1 is not JSON", 1: AB}),
    ("a key of a million characters", "x.jsonl", lines({LONG: "b"}), {0: NO_FORMAT}),
    ("a role of a million characters", "x.jsonl", messages(turn(LONG, "a")), {0: "messages[0].role is 'xxx"}),
    ("half a surrogate pair", "x.jsonl", alpaca("a", "\ud800"), {0: "output cannot be written as UTF-8"}),
    ("half a pair in a key", "x.jsonl", lines({"\ud800": "a"}), {0: NO_FORMAT}),
    ("half a pair in a role", "x.jsonl", messages(turn("\udfff", "a")),
     {0: "messages[0].role cannot be written as UTF-8"}),
    ("a terminal's commands in a key", "x.jsonl", lines({"\x1b[2J\n\r": "a"}), {0: NO_FORMAT}),
    # Turns and roles.
    ("an empty object", "x.jsonl", b"{}", {0: NO_FORMAT}),
    ("keys in capitals", "x.jsonl", lines({"Instruction": "a", "Output": "b"}), {0: NO_FORMAT}),
    ("no turns", "x.jsonl", messages(), {0: "there is no user turn"}),
    ("turns that are null", "x.jsonl", lines({"messages": None}), {0: "messages is null, not a list"}),
    ("a turn that is null", "x.jsonl", messages(ASKED, None), {0: "messages[1] is null, not an object"}),
    ("a turn that is a list", "x.jsonl", messages(["user", "a"]), {0: "messages[0] is a list, not an object"}),
    ("turns as JSON in a string", "x.jsonl", lines({"messages": json.dumps(AB)}),
     {0: "messages is a string, not a list"}),
    ("turns as an object", "x.jsonl", lines({"messages": {"role": ["user"], "content": ["a"]}}),
     {0: "messages is an object, not a list"}),
    ("empty turns", "x.jsonl", messages(turn("user", ""), TOLD), {0: "a turn of user is blank"}),
    ("no role", "x.jsonl", messages({"content": "a"}, TOLD), {0: "messages[0] has no role, only content"}),
    ("a role that is null", "x.jsonl", messages(turn(None, "a"), TOLD), {0: "messages[0].role is null, not a string"}),
    ("a role that is a number", "x.jsonl", messages(turn(1, "a"), TOLD), {0: "messages[0].role is a number, not"}),
    ("an unknown role", "x.jsonl", messages(turn("ipython", "a"), TOLD), {0: "messages[0].role is 'ipython', not one"}),
    ("a role in capitals", "x.jsonl", messages(turn("User", "a"), TOLD), {0: "messages[0].role is 'User', not one of"}),
    ("sharegpt's keys in messages", "x.jsonl", messages({"from": "human", "value": "a"}),
     {0: "messages[0] has no role"}),
    ("an unknown speaker", "x.jsonl", sharegpt(("bing", "a")), {0: "conversations[0].from is 'bing', not one of"}),
    ("system alone", "x.jsonl", messages(turn("system", "a")), {0: "there is no user turn"}),
    ("system and response", "x.jsonl", messages(turn("system", "a"), TOLD), {0: "there is no user turn"}),
    ("two system turns", "x.jsonl", messages(turn("system", "a"), turn("system", "b"), *AB),
     {0: "a system message comes after the first message"}),
    ("a late system turn", "x.jsonl", messages(ASKED, turn("system", "b"), TOLD),
     {0: "a system message comes after the first message"}),
    ("a blank system turn", "x.jsonl", messages(turn("system", "\u200b\n"), *AB), {0: AB}),
    ("assistant first", "x.jsonl", messages(TOLD, *AB), {0: "the first turn is assistant: it answers nothing"}),
    ("assistant behind system", "x.jsonl", messages(turn("system", "s"), TOLD, *AB),
     {0: "the first turn is assistant"}),
    ("two users in a row", "x.jsonl", messages(ASKED, *AB), {0: [ASKED, *AB]}),
    ("two assistants in a row", "x.jsonl", messages(*AB, TOLD), {0: [*AB, TOLD]}),
    ("user last", "x.jsonl", messages(*AB, ASKED), {0: "the last turn is user, not assistant: there is no response"}),
    ("no response", "x.jsonl", messages(ASKED), {0: "there is no assistant turn"}),
    # Contents.
    ("content that is null", "x.jsonl", messages(turn("user", None), TOLD),
     {0: "messages[0].content is null, not a s"}),
    ("content in parts", "x.jsonl", messages(turn("user", [{"type": "text", "text": "a"}]), TOLD),
     {0: "messages[0].content is a list, not a string"}),
    ("content that is an object", "x.jsonl", messages(turn("user", {"a": 1}), TOLD),
     {0: "messages[0].content is an object"}),
    ("numbers and booleans", "x.jsonl", lines(alpaca("a", 42), alpaca("a", True), alpaca("a", 0.5)),
     {0: "output is a number", 1: "output is a boolean, not a string", 2: "output is a number"}),
    ("numbers as text", "x.jsonl", alpaca("6 * 7?", "42"), {0: exchange("6 * 7?", "42")}),
    ("nested nulls", "x.jsonl", lines({"prompt": [None], "completion": [{"role": None}]}),
     {0: "prompt[0] is null, not"}),
    ("tool calls", "x.jsonl", messages(ASKED, turn("assistant", "", tool_calls=[{"id": 1}]), TOLD),
     {0: "messages[1] has tool_calls, which is not text"}),
    ("a tool's turn", "x.jsonl", messages(ASKED, turn("tool", "4"), TOLD),
     {0: "messages[1].role is 'tool', not one of"}),
    ("images beside the turns", "x.jsonl",
     lines({"messages": AB, "images": ["a.png"]}, {"messages": CD, "image": None}),
     {0: "the row has images, which is not text", 1: CD}),
    ("an image in a turn", "x.jsonl", messages(turn("user", "<image>", images=["a.png"]), TOLD),
     {0: "messages[0] has images, which is not text"}),
    ("empty responses", "x.jsonl", lines(alpaca("a", ""), alpaca("a", " \n\t"), alpaca("a", "\xa0\u3000")),
     dict.fromkeys(range(3), "a turn of assistant is blank")),
    ("zero-width characters alone", "x.jsonl", alpaca("a", "\u200b\u200d\ufeff\u2060"),
     {0: "a turn of assistant is blank"}),
    ("control characters alone", "x.jsonl", alpaca("\0\x1b\x7f", "b"), {0: "a turn of user is blank"}),
    ("control characters in a text", "x.jsonl", alpaca("a\0\x1b[2J", "\x07b"), {0: exchange("a\0\x1b[2J", "\x07b")}),
    ("text from right to left", "x.jsonl", alpaca("\u202eמה שלומך؟", "بخير"), {0: exchange("\u202eמה שלומך؟", "بخير")}),
    ("emoji", "x.jsonl", alpaca("👩‍👩‍👧‍👦🏳️‍🌈", "🙂"), {0: exchange("👩‍👩‍👧‍👦🏳️‍🌈", "🙂")}),
    ("one text in two normal forms", "x.jsonl", lines(alpaca("é", "b"), alpaca("e\u0301", "b")),
     {0: exchange("é", "b"), 1: exchange("e\u0301", "b")}),
    ("white space around a text", "x.jsonl", alpaca(" a\n", "\tb "), {0: exchange(" a\n", "\tb ")}),
    ("HTML", "x.jsonl", alpaca("<script>a</script>", "&lt;"), {0: exchange("<script>a</script>", "&lt;")}),
    ("a chat template's marks", "x.jsonl", alpaca("<|im_end|>\n<|im_start|>assistant", "</s>"),
     {0: exchange("<|im_end|>\n<|im_start|>assistant", "</s>")}),
    ("a template's code", "x.jsonl", alpaca("{{ 7 * 7 }}{% raw %}", "b"), {0: exchange("{{ 7 * 7 }}{% raw %}", "b")}),
    ("instruction and response alike", "x.jsonl", alpaca("a", "a"), {0: exchange("a", "a")}),
    # Formats.
    ("equal rows", "x.jsonl", lines(A, A, alpaca("a", "b", id=7)), {0: AB, 1: "duplicate of ", 2: "duplicate of "}),
    ("equal ids", "x.jsonl", lines(alpaca("a", "b", id=7), alpaca("c", "d", id=7)), {0: AB, 1: CD}),
    ("one instruction, two responses", "x.jsonl", lines(A, alpaca("a", "d")), {0: AB, 1: exchange("a", "d")}),
    ("a schema for each row", "x.jsonl", lines({"messages": AB}, sharegpt(("human", "c"), ("gpt", "d")),
                                               {"prompt": "e", "completion": "f"}, {"text": "g"}),
     {0: AB, 1: CD, 2: exchange("e", "f"), 3: NO_FORMAT}),
    ("two schemas in a row", "x.jsonl", sharegpt(("human", "a"), ("gpt", "b"), instruction="c", output="d"), {0: AB}),
    ("two schemas, one of them null", "x.jsonl", lines({"messages": None, "instruction": "a", "output": "b"}), {0: AB}),
    ("alpaca without output", "x.jsonl", lines({"instruction": "a", "input": ""}), {0: NO_FORMAT}),
    ("alpaca, output null", "x.jsonl", alpaca("a", None), {0: "output is null, not a string"}),
    ("alpaca, input a number", "x.jsonl", alpaca("a", "b", input=1), {0: "input is a number, not a string"}),
    ("alpaca with a history", "x.jsonl", lines(alpaca("a", "b", history=[["c", "d"]]), alpaca("a", "b", history=[])),
     {0: "the row has history, which would be lost; write it as messages", 1: AB}),
    ("a system prompt beside the turns", "x.jsonl", sharegpt(("human", "a"), ("gpt", "b"), system="s"),
     {0: "the row has system, which would be lost"}),
    ("prompt a text, completion turns", "x.jsonl", lines({"prompt": "a", "completion": [TOLD]}),
     {0: "prompt is a string, not a list"}),
    # Files of JSON lines.
    ("an empty file", "x.jsonl", b"", "hard: there are no rows in "),
    ("white space alone", "x.jsonl", b" \n\t\r\n\n", "hard: there are no rows in "),
    ("a byte order mark alone", "x.jsonl", b"\xef\xbb\xbf", "hard: there are no rows in "),
    ("gzip that ends early", "x.jsonl.gz", gzip.compress(A * 9)[:-9],
     "cannot be read as .jsonl.gz: Compressed file ended"),
    ("gzip with another checksum", "x.jsonl.gz", gzip.compress(A)[:-8] + bytes(8), "as .jsonl.gz: CRC check failed"),
    ("gzip in name alone", "x.jsonl.gz", A, "cannot be read as .jsonl.gz: Not a gzipped file"),
    ("gzip of nothing", "x.jsonl.gz", gzip.compress(b""), "hard: there are no rows in "),
    ("gzip in two parts", "x.jsonl.gz", gzip.compress(A + b"\n") + gzip.compress(B), {0: AB, 1: CD}),
    ("gzip that is not named so", "x.jsonl", gzip.compress(A), {0: "line 1 is not UTF-8"}),
    # JSON files.
    ("an array", "x.json", b"[" + A + b", 7, null]",
     {0: AB, 1: "element 2 is not a JSON", 2: "element 3 is not a JSON"}),
    ("an array behind a byte order mark", "x.json", b"\xef\xbb\xbf[" + A + b"]", {0: AB}),
    ("an array in UTF-16", "x.json", f"[{A.decode()}]".encode("utf-16"), {0: AB}),
    ("an array in broken UTF-8", "x.json", b'["\xff"]', "x.json cannot be read as .json: 'utf-8' codec can't decode"),
    ("a trailing comma in an array", "x.json", b"[" + A + b",]", "x.json cannot be read as .json: "),
    ("an array that ends early", "x.json", b"[" + A, "x.json cannot be read as .json: Expecting ',' delimiter"),
    ("an array of nothing", "x.json", b"[]", "hard: there are no rows in "),
    ("an empty JSON file", "x.json", b"", "x.json cannot be read as .json: Expecting value"),
    ("an object", "x.json", A, "it holds no array of objects (a file with one object a line should end in .jsonl)"),
    ("an object of arrays", "x.json", b'{"train": []}', "it holds no array of objects"),
    ("JSON lines named .json", "x.json", lines(A, B), "x.json cannot be read as .json: Extra data"),
    ("a deep array", "x.json", b"[" * 100_000, "x.json cannot be read as .json: maximum recursion depth"),
    ("a key twice in an array", "x.json", b'[{"a": 1, "a": 2}]',
     "cannot be read as .json: an object has the key a twice"),
    # Tables.
    ("a table", "x.parquet", PARQUET, {0: AB, 1: CD}),
    ("a table that ends early", "x.parquet", PARQUET[:-20], "x.parquet cannot be read as .parquet: "),
    ("a table of text", "x.parquet", A, "x.parquet cannot be read as .parquet: "),
    ("an empty table", "x.parquet", b"", "x.parquet cannot be read as .parquet: "),
    ("a table without rows", "x.parquet", table(instruction=[], output=[]), "hard: there are no rows in "),
    ("numbers in a table", "x.parquet", table(instruction=["a"], output=[1.5]),
     {0: "output is a number, not a string"}),
    ("bytes in a table", "x.parquet", table(instruction=["a"], output=[b"b"]), {0: "output is a bytes, not a string"}),
    ("dates in a table", "x.parquet", table(instruction=["a"], output=[date(2026, 1, 2)]),
     {0: "output is a date, not"}),
    ("nulls in a table", "x.parquet", table(instruction=["a", "a"], output=[None, "b"]),
     {0: "output is null, not", 1: AB}),
    ("turns as text in a table", "x.parquet", table(messages=["[]"]), {0: "messages is a string, not a list"}),
    ("roles as numbers in a table", "x.parquet", table(messages=[[{"role": 1, "content": "a"}]]),
     {0: "messages[0].role is a number, not a string"}),
    ("null turns in a table", "x.parquet", table(messages=[AB, None, [None, TOLD]]),
     {0: AB, 1: "messages is null, not a list", 2: "messages[0] is null, not an object"}),
    ("categories in a table", "x.parquet", table(instruction=pl.Series(["a"], dtype=pl.Categorical), output=["b"]),
     {0: AB}),
    ("two schemas in a table", "x.parquet", table(messages=[AB, None], prompt=[None, "c"], completion=[None, "d"]),
     {0: AB, 1: CD}),
    # Names of files.
    ("another format", "x.csv", b"instruction,output\na,b\n", "x.csv should end in one of .jsonl, .jsonl.gz, .json"),
    ("an ending in capitals", "x.JSONL", A, "x.JSONL should end in one of .jsonl"),
    ("white space and Unicode in a name", "mein Ordner 🙂\u2028/ö 'x\".jsonl", A, {0: AB}),
]  # fmt: skip


def prepared(folder, monkeypatch, **source):
    """Run `prepare` with a source called hard, and one of two good rows so that something can be held out."""
    (folder / "good.jsonl").write_bytes(lines(alpaca("good 1", "1"), alpaca("good 2", "2")))
    flags = {
        "--sources": json.dumps([{"name": "hard", **source}, {"name": "good", "path": str(folder / "good.jsonl")}]),
        "--heldout": "1",
        "--corrupt": "0",
        "--corruptions": "[]",
        "--seed": "0",
        "--pool": str(folder / "pool.parquet"),
        "--heldout-out": str(folder / "heldout.parquet"),
        "--rejected": str(folder / "rejected.parquet"),
    }
    monkeypatch.setattr(sys, "argv", ["prepare", *(word for pair in flags.items() for word in pair)])
    prepare.main()
    examples = pl.concat([pl.read_parquet(folder / f"{name}.parquet") for name in ("pool", "heldout")])
    hard = examples.filter(source="hard").select("source_index", "messages").rows()
    rejected = pl.read_parquet(folder / "rejected.parquet").filter(source="hard")
    return hard, rejected


def test_the_table_is_long_enough_and_names_each_case_once():
    assert len({name for name, *_ in CASES}) == len(CASES) > 120


@pytest.mark.parametrize(("file", "content", "outcome"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_row_becomes_an_example_or_is_rejected_or_the_file_is_one_error(
    tmp_path, monkeypatch, capsys, file, content, outcome
):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    if isinstance(outcome, str):
        with pytest.raises(UserError) as error:
            prepared(tmp_path, monkeypatch, path=str(path))
        assert outcome in str(error.value)
        assert str(path) in str(error.value)
        return
    hard, rejected = prepared(tmp_path, monkeypatch, path=str(path))
    assert dict(hard) == {row: turns for row, turns in outcome.items() if isinstance(turns, list)}
    assert len(hard) + len(rejected) == len(outcome)
    reasons = dict(rejected.select("row", "reason").rows())
    assert set(reasons) == {row for row, reason in outcome.items() if isinstance(reason, str)}
    for row, reason in reasons.items():
        assert reason.startswith(outcome[row])
        assert reason.isprintable()
        assert len(reason) <= 501
    assert all(len(content) <= 2000 for content in rejected["content"])
    said = capsys.readouterr().out
    assert len(said) < 5000
    assert all(line.isprintable() for line in said.split("\n"))


# What a source may be called, and what is said of it before anything is read.
@pytest.mark.parametrize(
    ("make", "named", "message"),
    [
        (lambda path: None, "x.jsonl", "x.jsonl is not a file"),
        (lambda path: path.mkdir(), "x.jsonl", "x.jsonl is not a file"),
        (lambda path: path.symlink_to(path), "x.jsonl", "x.jsonl is not a file"),
        (lambda path: path.symlink_to("nowhere"), "x.jsonl", "x.jsonl is not a file"),
        (lambda path: os.mkfifo(path), "x.jsonl", "x.jsonl is not a file"),
        (lambda path: None, "x" * 300, "is not a file"),
        (lambda path: None, "x\0.jsonl", "is not a file"),
        (lambda path: None, "\ud800.jsonl", "has half a surrogate pair"),
    ],
    ids=["missing", "folder", "link to itself", "link to nothing", "pipe", "long name", "NUL", "half a pair"],
)
def test_what_is_no_file_is_refused(tmp_path, make, named, message):
    make(tmp_path / named)
    with pytest.raises(ValidationError) as error:
        Source(name="hard", path=str(tmp_path / named))
    assert message in str(error.value)


def test_a_folder_for_a_file_of_a_data_set_is_one_error(tmp_path):
    (tmp_path / "x.jsonl").mkdir()
    with pytest.raises(SourceError, match=r"x.jsonl cannot be read: .*Is a directory"):
        list(read_source(Source(name="hard", hub=str(tmp_path), file="x.jsonl"), 0, tmp_path))


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


def test_without_permission_a_source_is_one_error(tmp_path_factory, request):
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
def test_a_file_of_a_data_set_lies_in_it(file):
    with pytest.raises(ValidationError, match=r"leads out of the data set"):
        Source(name="hard", hub="owner/name", file=file)


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_zip_writes_nothing_wherever_its_names_lead(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    zipped(tmp_path / "set" / "x.zip", **{"../../evil.jsonl": A, "/abs/olute.jsonl": B, "x/../../up.jsonl": A})
    before = sorted(tmp_path.rglob("*"))
    for member, expected in (("evil.jsonl", AB), ("olute.jsonl", CD)):
        (row,) = read_source(Source(name="hard", hub=str(tmp_path / "set"), file="x.zip", member=member), 0, tmp_path)
        assert to_messages(row.content, "auto") == expected
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_with_a_password_is_one_error(tmp_path):
    zipped(tmp_path / "x.zip", **{"a.jsonl": A})
    content = bytearray((tmp_path / "x.zip").read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + flags] |= 1  # says that the entry is encrypted
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(SourceError, match=r"x.zip cannot be read as .zip: .*password required"):
        list(read_source(Source(name="hard", hub=str(tmp_path), file="x.zip", member="a.jsonl"), 0, tmp_path))


class Writes:
    """Unpickled, it runs a command."""

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
    (folder / "train.pkl").write_bytes(pickle.dumps(Writes(trace)))
    with pytest.raises(SourceError, match=r"set, split train, cannot be loaded as a data set of the hub: "):
        list(read_source(Source(name="hard", hub=str(folder)), 0, tmp_path))
    for name in ("train.pkl", "set.py"):
        with pytest.raises(SourceError, match=f"{name} should end in one of .jsonl"):
            list(read_source(Source(name="hard", hub=str(folder), file=name), 0, tmp_path))
    assert not trace.exists()
    pickle.loads((folder / "train.pkl").read_bytes())  # so it would have been seen
    assert trace.exists()


# Properties, of rows and files that nobody wrote by hand.

KEYS = ["messages", "conversations", "prompt", "completion", "instruction", "input", "output", "system", "images"]
TURN_KEYS = ["role", "content", "from", "value", "tool_calls"]
TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(["", " ", "\u200b", "user", "assistant", "human", "gpt"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.dates() | st.binary(max_size=3)
TURNS = st.fixed_dictionaries(
    {"role": st.sampled_from([*ROLES, "tool"]) | SCALARS, "content": SCALARS}
) | st.dictionaries(st.sampled_from(TURN_KEYS) | TEXTS, SCALARS, max_size=4)
VALUES = SCALARS | st.lists(TURNS | SCALARS, max_size=4) | TURNS
ROWS = st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES, max_size=5)
FORMATS = st.sampled_from(["auto", "messages", "less", "alpaca", "sharegpt", "prompt_completion"])


@FAST
@given(ROWS, FORMATS)
def test_any_row_becomes_messages_or_a_reason(row, format):
    try:
        turns = to_messages(row, format)
    except Rejected:
        return
    roles = [turn["role"] for turn in turns]
    assert roles[-1] == "assistant"
    assert next(role for role in roles if role != "system") == "user"
    assert "system" not in roles[1:]
    assert set(roles) <= set(ROLES)
    assert all(set(turn) == {"role", "content"} and turn["content"].strip() for turn in turns)
    assert json.dumps(turns, ensure_ascii=False).encode()
    assert to_messages({"messages": turns}, "auto") == turns


SAID = st.text(max_size=20).map(lambda text: f"{text}.")  # a full stop can be seen


@FAST
@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=3), st.none() | SAID)
def test_a_conversation_is_the_same_in_every_format_that_can_hold_it(exchanges, system):
    turns = [{"role": "system", "content": system}] if system is not None else []
    for asked, told in exchanges:
        turns += exchange(asked, told)
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    rows = [
        {"messages": turns},
        {"conversations": [{"from": names[turn["role"]], "value": turn["content"]} for turn in turns]},
        {"prompt": turns[:-1], "completion": turns[-1:]},
    ]
    if len(turns) == 2:
        rows += [
            dict(zip(keys, exchanges[0], strict=True)) for keys in (("prompt", "completion"), ("instruction", "output"))
        ]
    for row in rows:
        assert to_messages(json.loads(json.dumps(row)), "auto") == turns


LINE = (
    st.binary(max_size=30)
    | ROWS.map(lambda row: json.dumps(row, default=str).encode())
    | st.sampled_from([A, B, b"", b"\xef\xbb\xbf", b"\r", b"[" * 995 + b"]" * 995, b'{"a":' * 400 + b"1" + b"}" * 400])
)


@FAST
@given(st.lists(LINE, max_size=6))
def test_every_line_of_any_file_is_accounted_for(tmp_path, written):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"\n".join([A, *written]))
    content = path.read_bytes()
    rows = {"hard": list(read_source(Source(name="hard", path=str(path)), 0, tmp_path))}
    assert [row.index for row in rows["hard"]] == [n for n, line in enumerate(content.split(b"\n")) if line.strip()]
    examples, rejected = to_examples(rows, {"hard": "auto"})
    assert sorted([*examples["source_index"], *rejected["row"]]) == [row.index for row in rows["hard"]]
    kept = with_content(rejected, rows)
    kept.write_parquet(tmp_path / "rejected.parquet")
    assert pl.read_parquet(tmp_path / "rejected.parquet").equals(kept)
    assert kept.schema == {**REJECTED, "content": pl.String}


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
        rows = list(read_source(Source(name="hard", hub=str(tmp_path), file=name, **member), 0, tmp_path))
    except SourceError as error:
        rows, said = [], str(error)
    else:
        said = name
    assert rows or name in said
