import json
import math
import shutil
from importlib.resources import files

import polars as pl
import pytest
import torch
import yaml
from datasets import load_dataset
from given.models import random_model

from moesift.config import Task
from moesift.data.decontamination import Question as Asked
from moesift.errors import UserError
from moesift.evaluation import heldout_loss, heldout_losses, localise_tasks, read_questions, run_tasks
from moesift.models.chat import Encoded, encode

ARC = pl.DataFrame(
    {
        "question": ["Which is a metal?", "Which sings?"],
        "choices": [
            {"text": ["iron", "wood"], "label": ["A", "B"]},
            {"text": ["mat", "cat", "rug"], "label": ["A", "B", "C"]},
        ],
        "answerKey": ["A", "B"],
    }
)
SPLITS = ("train", "validation", "test")
NAMES = ["arc_easy", "arc_challenge"]


def splits(table):
    return dict.fromkeys(SPLITS, table)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation data") / "of arc"
    assert localise_tasks(NAMES, lambda *_: splits(ARC), out) == {"arc_easy": 2, "arc_challenge": 2}
    return out / "tasks"


def test_local_data_has_the_columns_of_the_hub(tasks):
    (folder,) = (tasks.parent / "data").iterdir()
    rows = load_dataset(str(folder), "ARC-Easy", split="test")
    assert rows[1] == {
        "question": "Which sings?",
        "choices": {"text": ["mat", "cat", "rug"], "label": ["A", "B", "C"]},
        "answerKey": "B",
    }


def test_two_folders_of_data_are_never_taken_for_each_other(tasks, tmp_path):
    """The cache of `datasets` goes by a folder's name; it once gave the questions of another experiment."""
    localise_tasks(["arc_easy"], lambda *_: splits(ARC.reverse()), tmp_path)
    loaded = [
        load_dataset(str(next((place / "data").iterdir())), "ARC-Easy", split="test")["question"]
        for place in (tasks.parent, tmp_path)
    ]
    assert list(loaded[0]) == list(loaded[1])[::-1] != list(loaded[1])


def test_a_task_file_says_nothing_but_where_the_data_are(tasks):
    made = yaml.safe_load((tasks / "arc_challenge.yaml").read_text())
    assert made == {
        "include": str(files("lm_eval") / "tasks" / "arc" / "arc_challenge.yaml"),
        "dataset_path": str(next((tasks.parent / "data").iterdir())),
    }
    assert sorted(path.name for path in tasks.iterdir()) == ["arc_challenge.yaml", "arc_easy.yaml"]


def test_a_task_without_questions_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"arc_easy asks the questions of the split test of .*ARC-Easy, .* only train"):
        localise_tasks(["arc_easy"], lambda *_: {"train": ARC}, tmp_path)


def test_examples_before_a_question_that_the_data_lack_are_refused(tmp_path, tokenizer):
    """Without them the task itself runs; lm-eval alone would have taken them from the questions."""
    localise_tasks(["arc_easy"], lambda *_: {"test": ARC}, tmp_path)
    model, folder = random_model("Olmoe"), tmp_path / "tasks"
    assert run_tasks(model, tokenizer, [Task(name="arc_easy")], folder, 4).tasks["arc_easy"]["fewshot"] == 0
    with pytest.raises(UserError, match="arc_easy should have 3 examples before each question, and its data have 0"):
        run_tasks(model, tokenizer, [Task(name="arc_easy", fewshot=3)], folder, 4)


def test_examples_that_lm_eval_would_leave_out_in_silence_are_refused(tmp_path, tokenizer):
    rows = pl.DataFrame({"input": ["not True is"], "target": ["False"]})
    localise_tasks(["bbh_zeroshot_snarks"], lambda *_: {"test": rows}, tmp_path)
    with pytest.raises(
        UserError, match="bbh_zeroshot_snarks has no examples before a question, so fewshot cannot be 3"
    ):
        run_tasks(
            random_model("Olmoe"), tokenizer, [Task(name="bbh_zeroshot_snarks", fewshot=3)], tmp_path / "tasks", 4
        )


def test_a_batch_size_that_lm_eval_finds_itself_gives_the_same(tasks, tokenizer):
    asked = [Task(name="arc_easy")]
    found, given = (run_tasks(random_model("Olmoe"), tokenizer, asked, tasks, size)[0] for size in ("auto", 4))
    assert found["arc_easy"]["metrics"] == given["arc_easy"]["metrics"]


@pytest.mark.parametrize("task", ["wikitext_no_such", "prost", "niah_single_1"])
def test_a_task_that_cannot_be_had_from_files_is_refused(task, tmp_path):
    with pytest.raises(UserError, match=r"^evaluate.tasks: "):
        localise_tasks([task], lambda *_: {}, tmp_path)


def test_accuracy_is_the_share_of_questions_whose_answer_is_likeliest(tasks, tokenizer):
    """Against the likelihoods of the answers, computed here."""
    model = random_model("Olmoe")
    measured, questions = run_tasks(model, tokenizer, [Task(name="arc_easy")], tasks, batch_size=4)

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
        assert (kept["task"], kept["value"], kept["predicted"], kept["gold"]) == (
            "arc_easy",
            float(predicted == gold),
            str(predicted),
            str(gold),
        )
        assert kept["loglikelihoods"] == pytest.approx(values, abs=1e-4)
    assert questions["metric"].unique().sort().to_list() == ["acc", "acc_norm"]
    assert measured["arc_easy"]["metrics"]["acc"] == right / 2
    assert measured["arc_easy"]["metrics"]["acc_stderr"] == pytest.approx(
        math.sqrt(right / 2 * (1 - right / 2)), abs=1e-6
    )
    assert measured["arc_easy"]["questions"] == 2


def test_a_limit_is_of_each_task(tasks, tokenizer):
    limited = [Task(name="arc_easy", limit=1), Task(name="arc_challenge")]
    measured = run_tasks(random_model("Olmoe"), tokenizer, limited, tasks, batch_size=4).tasks
    asked = {name: (task["questions"], task["of"]) for name, task in measured.items()}
    assert asked == {"arc_easy": (1, 2), "arc_challenge": (2, 2)}


def test_a_tag_is_the_mean_over_its_tasks(tasks, tokenizer):
    measured = run_tasks(random_model("Olmoe"), tokenizer, [Task(name="ai2_arc")], tasks, batch_size=4).tasks
    easy, challenge, both = (measured[name]["metrics"] for name in ("arc_easy", "arc_challenge", "ai2_arc"))
    assert both["acc_norm"] == (easy["acc_norm"] + challenge["acc_norm"]) / 2
    assert both["acc_norm_stderr"] == pytest.approx(
        math.sqrt(easy["acc_norm_stderr"] ** 2 + challenge["acc_norm_stderr"] ** 2) / 2
    )
    assert measured["ai2_arc"]["questions"] == 4
    assert measured["ai2_arc"]["shares"] == {"arc_easy": 0.5, "arc_challenge": 0.5}


def test_every_question_is_read_with_all_of_its_answers(tasks):
    assert read_questions(["arc_easy"], tasks) == [
        Asked("arc_easy", 0, "Question: Which is a metal?\nAnswer:", ["iron", "wood"]),
        Asked("arc_easy", 1, "Question: Which sings?\nAnswer:", ["mat", "cat", "rug"]),
    ]


def test_a_task_and_a_tag_that_has_it_are_read_once(tasks):
    names = [(question.task, question.number) for question in read_questions(["arc_easy", "ai2_arc"], tasks)]
    assert sorted(names) == [("arc_challenge", 0), ("arc_challenge", 1), ("arc_easy", 0), ("arc_easy", 1)]


def test_a_sentence_with_a_blank_is_read_whole(tmp_path):
    """Winogrande's own task file, in which the text is the place of the right choice."""
    theirs = files("lm_eval") / "tasks" / "winogrande"
    row = {"sentence": "The cat beat the dog as _ was fast.", "option1": "the cat", "option2": "the dog", "answer": "1"}
    for split in ("train", "validation"):
        pl.DataFrame([row]).write_ndjson(tmp_path / f"{split}.jsonl")
    paths = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "validation")}
    text = (theirs / "default.yaml").read_text().replace("dataset_path: allenai/winogrande", "dataset_path: json")
    text = text.replace("dataset_name: winogrande_xl", f"dataset_kwargs: {{data_files: {json.dumps(paths)}}}")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "default.yaml").write_text(text)
    shutil.copy(str(theirs / "preprocess_winogrande.py"), tmp_path / "tasks")
    assert read_questions(["winogrande"], tmp_path / "tasks") == [
        Asked("winogrande", 0, "", [f"The cat beat the dog as {who} was fast." for who in ("the cat", "the dog")])
    ]


def test_an_unknown_task_is_named_with_those_that_are_like_it(tasks, tokenizer):
    with pytest.raises(UserError, match=r"evaluate\.tasks: arc_eazy is no task of lm-eval; did you mean arc_easy"):
        run_tasks(random_model("Olmoe"), tokenizer, [Task(name="arc_eazy")], tasks, batch_size=4)


def test_the_heldout_loss_weighs_tokens_not_examples(tokenizer, conversations):
    model = random_model("Olmoe")
    examples = encode(conversations, tokenizer, 60)
    by_example = heldout_losses(model, examples, tokenizer.pad_token_id, token_budget=100)
    measured = heldout_loss(by_example)
    nats, tokens = [], []
    for example in examples:
        labels = [i if r else -100 for i, r in zip(example.ids, example.response, strict=True)]
        with torch.no_grad():
            mean = model(torch.tensor([example.ids]), labels=torch.tensor([labels])).loss.item()
        tokens.append(example.predicted)
        nats.append(mean * example.predicted)
    assert by_example["nats"].to_list() == pytest.approx(nats, abs=1e-4)
    assert by_example["tokens"].to_list() == tokens
    assert measured["nll_per_token"] == pytest.approx(sum(nats) / sum(tokens), abs=1e-5)
    assert (measured["tokens"], measured["examples"]) == (sum(tokens), len(examples))


def test_the_error_of_the_heldout_loss_is_that_of_a_ratio(tokenizer):
    """Equal examples leave no doubt; and with one token each it is the plain standard error."""
    model = random_model("Olmoe")
    same = [Encoded([5, 6, 7], [False, True, True], False)] * 4
    assert heldout_loss(heldout_losses(model, same, 1, 100))["stderr"] == pytest.approx(0, abs=1e-6)
    single = [Encoded([5, token], [False, True], False) for token in range(6, 16)]
    with torch.no_grad():
        values = -model(torch.tensor([[5]])).logits[0, 0].log_softmax(dim=-1)[6:16]
    expected = (values - values.mean()).square().sum().sqrt() / 10
    assert heldout_loss(heldout_losses(model, single, 1, 100))["stderr"] == pytest.approx(expected.item(), abs=1e-5)
