import json
import math
import shutil
from importlib.resources import files

import polars as pl
import pytest
import torch
import yaml
from given.models import random_model
from given.questions import ARC

from moesift.config import Task
from moesift.data.decontamination import Question
from moesift.errors import UserError
from moesift.evaluation.local_data import localise_tasks
from moesift.evaluation.tasks import read_questions, run_tasks


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation data")
    splits = dict.fromkeys(("train", "validation", "test"), ARC)
    localise_tasks(["arc_easy", "arc_challenge"], lambda *_: splits, out)
    return out / "tasks"


def measured(tokenizer, folder, *tasks, batch_size=4):
    return run_tasks(random_model("Olmoe"), tokenizer, tasks, folder, batch_size)


def test_accuracy_is_the_share_of_questions_whose_answer_is_likeliest(tasks, tokenizer):
    """Against the likelihoods of the answers, computed here."""
    model = random_model("Olmoe")
    summaries, questions = run_tasks(model, tokenizer, [Task(name="arc_easy")], tasks, batch_size=4)

    def likelihood(question, answer):
        start = tokenizer(f"Question: {question}\nAnswer:")["input_ids"]
        whole = tokenizer(f"Question: {question}\nAnswer: {answer}")["input_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
        return sum(logits[place - 1, whole[place]].item() for place in range(len(start), len(whole)))

    right = 0
    for place, row in enumerate(ARC.iter_rows(named=True)):
        values = [likelihood(row["question"], answer) for answer in row["choices"]["text"]]
        predicted, gold = values.index(max(values)), row["choices"]["label"].index(row["answerKey"])
        right += predicted == gold
        (kept,) = questions.filter(doc_id=place, metric="acc").iter_rows(named=True)
        assert (kept["task"], kept["value"]) == ("arc_easy", float(predicted == gold))
        assert (kept["predicted"], kept["gold"]) == (str(predicted), str(gold))
        assert kept["loglikelihoods"] == pytest.approx(values, abs=1e-4)
    assert questions["metric"].unique().sort().to_list() == ["acc", "acc_norm"]
    metrics, share = summaries["arc_easy"]["metrics"], right / 2
    assert metrics["acc"] == share
    assert metrics["acc_stderr"] == pytest.approx(math.sqrt(share * (1 - share)), abs=1e-6)
    assert summaries["arc_easy"]["higher_is_better"] == {"acc": True, "acc_norm": True}


def test_a_limit_is_per_task_and_a_batch_size_that_lm_eval_finds_changes_nothing(tasks, tokenizer):
    asked = Task(name="arc_easy", limit=1), Task(name="arc_challenge")
    given, auto = (measured(tokenizer, tasks, *asked, batch_size=size).tasks for size in (4, "auto"))
    assert {name: (task["questions"], task["of"]) for name, task in given.items()} == {
        "arc_easy": (1, 2),
        "arc_challenge": (2, 2),
    }
    assert auto == given


def test_a_tag_is_the_mean_over_its_tasks(tasks, tokenizer):
    summaries = measured(tokenizer, tasks, Task(name="ai2_arc")).tasks
    easy, challenge, both = (summaries[name]["metrics"] for name in ("arc_easy", "arc_challenge", "ai2_arc"))
    assert both["acc_norm"] == (easy["acc_norm"] + challenge["acc_norm"]) / 2
    errors = easy["acc_norm_stderr"], challenge["acc_norm_stderr"]
    assert both["acc_norm_stderr"] == pytest.approx(math.hypot(*errors) / 2)
    assert summaries["ai2_arc"]["questions"] == 4
    assert summaries["ai2_arc"]["shares"] == {"arc_easy": 0.5, "arc_challenge": 0.5}
    assert summaries["ai2_arc"]["higher_is_better"] == {"acc": True, "acc_norm": True}


@pytest.fixture
def calibration(tmp_path):
    """A group of a group and a tag, whose tasks have a Brier score, and one of them a metric that points both ways."""
    ARC.select("question", "answerKey").write_ndjson(tmp_path / "test.jsonl")
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "test.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": ["A", "B"],
        "doc_to_target": "answerKey",
        "tag": "calibrated",
    }
    brier = {"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": False}
    acc = {"metric": "acc", "aggregation": "mean", "higher_is_better": True}
    contents = [
        {"task": "one", **shared, "metric_list": [acc, brier]},
        {"task": "two", **shared, "metric_list": [{**acc, "higher_is_better": False}, brier]},
        {"group": "inner", "task": ["one", "two"], "aggregate_metric_list": [{"metric": "brier_score"}]},
        {"group": "outer", "task": ["inner"], "aggregate_metric_list": [{"metric": "brier_score"}]},
    ]
    for content in contents:
        (tmp_path / f"{content.get('group', content['task'])}.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


def test_it_is_known_whether_higher_is_better(calibration, tokenizer):
    summaries = {}
    for name in ("outer", "calibrated"):
        summaries |= measured(tokenizer, calibration, Task(name=name)).tasks
    assert {name: summary["higher_is_better"] for name, summary in summaries.items()} == {
        "one": {"acc": True, "brier_score": False},
        "two": {"acc": False, "brier_score": False},
        "inner": {"brier_score": False},
        "outer": {"brier_score": False},
        "calibrated": {"brier_score": False},  # its tasks do not agree on acc
    }
    for name in ("inner", "outer", "calibrated"):
        mean = (summaries["one"]["metrics"]["brier_score"] + summaries["two"]["metrics"]["brier_score"]) / 2
        assert summaries[name]["metrics"]["brier_score"] == pytest.approx(mean)


def test_every_question_is_read_with_all_of_its_answers_and_once(tasks):
    questions = read_questions(["arc_easy", "ai2_arc"], tasks)
    assert [question for question in questions if question.task == "arc_easy"] == [
        Question("arc_easy", 0, "Question: Which is a metal?\nAnswer:", ["iron", "wood"]),
        Question("arc_easy", 1, "Question: Which sings?\nAnswer:", ["mat", "cat", "rug"]),
    ]
    assert sorted((question.task, question.number) for question in questions)[:2] == [
        ("arc_challenge", 0),
        ("arc_challenge", 1),
    ]
    assert len(questions) == 4


def test_a_sentence_with_a_blank_is_read_whole(tmp_path):
    """WinoGrande's own task file, in which the text is the place of the right choice."""
    theirs = files("lm_eval") / "tasks" / "winogrande"
    row = {"sentence": "The cat beat the dog as _ was fast.", "option1": "the cat", "option2": "the dog", "answer": "1"}
    paths = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "validation")}
    for path in paths.values():
        pl.DataFrame([row]).write_ndjson(path)
    text = (theirs / "default.yaml").read_text().replace("dataset_path: allenai/winogrande", "dataset_path: json")
    text = text.replace("dataset_name: winogrande_xl", f"dataset_kwargs: {{data_files: {json.dumps(paths)}}}")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "default.yaml").write_text(text)
    shutil.copy(str(theirs / "preprocess_winogrande.py"), tmp_path / "tasks")
    assert read_questions(["winogrande"], tmp_path / "tasks") == [
        Question("winogrande", 0, "", [f"The cat beat the dog as {who} was fast." for who in ("the cat", "the dog")])
    ]


def test_an_unknown_task_is_an_error_with_similar_names(tasks, tokenizer):
    with pytest.raises(UserError, match=r"evaluate\.tasks: unknown task arc_eazy; did you mean arc_easy"):
        measured(tokenizer, tasks, Task(name="arc_eazy"))
