import polars as pl
import pytest
from datasets import load_dataset
from given.models import random_model
from given.questions import ARC

from moesift.config import Task
from moesift.errors import UserError
from moesift.evaluation.local_data import from_directory, localise_tasks
from moesift.evaluation.tasks import run_tasks


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation data") / "of arc"
    splits = dict.fromkeys(("train", "validation", "test"), ARC)
    assert localise_tasks(["arc_easy", "arc_challenge"], lambda *_: splits, out) == {"arc_easy": 2, "arc_challenge": 2}
    return out / "tasks"


def loaded(tasks):
    (folder,) = (tasks.parent / "data").iterdir()
    return load_dataset(str(folder), "ARC-Easy", split="test")


def test_local_data_have_the_columns_of_the_hub(tasks):
    assert loaded(tasks)[1] == ARC.row(1, named=True)


def test_two_folders_of_data_are_never_confused(tasks, tmp_path):
    """The cache of `datasets` goes by a folder's name; it once gave the questions of another experiment."""
    localise_tasks(["arc_easy"], lambda *_: {"test": ARC.reverse()}, tmp_path)
    first, second = (list(loaded(place)["question"]) for place in (tasks, tmp_path / "tasks"))
    assert first == second[::-1] != second


def test_a_task_without_questions_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"arc_easy asks the questions of the split test of .*ARC-Easy, .* only train"):
        localise_tasks(["arc_easy"], lambda *_: {"train": ARC}, tmp_path)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("wikitext_no_such", "unknown task wikitext_no_such"),
        ("arc_eazy", "unknown task arc_eazy; did you mean arc_easy"),
        ("prost", "use data: hub"),
        ("niah_single_1", "niah_single_1 does not read a data set by its name on the hub"),
    ],
)
def test_a_task_that_cannot_read_local_data_is_refused(task, message, tmp_path):
    with pytest.raises(UserError, match=rf"^evaluate.tasks: .*{message}"):
        localise_tasks([task], lambda *_: {}, tmp_path)


def test_fewshot_examples_that_the_data_lack_are_refused(tmp_path, tokenizer):
    """Without them the task itself runs; lm-eval alone would have taken them from the questions."""
    localise_tasks(["arc_easy"], lambda *_: {"test": ARC}, tmp_path)
    model, folder = random_model("Olmoe"), tmp_path / "tasks"
    assert run_tasks(model, tokenizer, [Task(name="arc_easy")], folder, 4).tasks["arc_easy"]["fewshot"] == 0
    with pytest.raises(UserError, match="arc_easy needs 3 few-shot examples before each question, and its data have 0"):
        run_tasks(model, tokenizer, [Task(name="arc_easy", fewshot=3)], folder, 4)


def test_a_split_is_a_file_of_its_name(tmp_path):
    folder = tmp_path / "openai/gsm8k/main"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    pl.DataFrame({"question": ["2 + 2?"], "answer": ["#### 4"]}).write_parquet(folder / "train.parquet")
    (folder / "README.md").write_text("not data")
    splits = from_directory(tmp_path, "openai/gsm8k", "main")
    assert {split: table.rows() for split, table in splits.items()} == {
        "test": [("1 + 1?", "#### 2")],
        "train": [("2 + 2?", "#### 4")],
    }


def test_shards_are_read_as_the_hub_names_them(tmp_path):
    folder = tmp_path / "owner/name/data"  # where the hub keeps a data set without configurations
    folder.mkdir(parents=True)
    (folder / "test-00001-of-00002.jsonl").write_text('{"question": "3 + 3?", "hint": "six"}\n')
    (folder / "test-00000-of-00002.jsonl").write_text('{"question": "2 + 2?", "hint": null}\n')
    table = pl.DataFrame({"question": ["1 + 1?"], "hint": ["two"]})
    table.write_parquet(folder / "challenge-train-00000-of-00001-b513d9e388d56453.parquet")
    splits = from_directory(tmp_path, "owner/name", "default")
    assert {split: table.rows() for split, table in splits.items()} == {
        "test": [("2 + 2?", None), ("3 + 3?", "six")],
        "challenge-train": [("1 + 1?", "two")],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"evaluate.data: .*a/b/c has no data; put the data set a/b there, .* such as .*a/b/c/test\.jsonl, "),
        (
            {"test.jsonl": "{}", "test.parquet": "{}"},
            r"a/b/c: the split test should be .* and is test\.jsonl, test\.pa",
        ),
        ({"test.jsonl": "{}", "test-00000-of-00001.jsonl": "{}"}, r"a/b/c: the split test should be one file, or all "),
        (
            {"test-00000-of-00003.jsonl": "{}", "test-00002-of-00003.jsonl": "{}"},
            r"all of its shards once, and is test",
        ),
        (
            {"test-00000-of-00002.jsonl": '{"a": 1}', "test-00001-of-00002.jsonl": '{"b": 1}'},
            "have different columns: ",
        ),
        ({"test.jsonl": '{"question": '}, r"a/b/c/test\.jsonl cannot be read as \.jsonl: "),
    ],
)
def test_data_that_cannot_be_read_are_refused(tmp_path, content, message):
    (tmp_path / "a/b/c").mkdir(parents=True)
    for name, text in content.items():
        (tmp_path / "a/b/c" / name).write_text(text)
    with pytest.raises(UserError, match=message):
        from_directory(tmp_path, "a/b", "c")
