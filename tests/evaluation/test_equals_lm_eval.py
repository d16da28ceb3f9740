"""Tasks on local data equal lm-eval's own, whose hub is replaced by the same rows.

The official side never sees what moesift writes: lm-eval loads its own task file by name, and asks `datasets` for the
data set, which is made of the rows here.
"""

import datasets
import lm_eval
import polars as pl
import pytest
import torch
from given.questions import hub, write
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaConfig, LlamaForCausalLM

from moesift.config import Task
from moesift.evaluation.local_data import from_directory, localise_tasks
from moesift.evaluation.tasks import run_tasks

NAMES = [
    *("mmlu", "arc_easy", "arc_challenge", "hellaswag", "piqa", "boolq", "openbookqa", "winogrande"),
    *("gsm8k", "bbh", "bbh_zeroshot"),
]
GENERATED = ("gsm8k", "bbh_cot_fewshot_snarks", "bbh_zeroshot_snarks")
OWN_FEWSHOT = {"gsm8k": 5, "bbh_cot_fewshot_snarks": 3}  # lm-eval's own setting, where it is not none


pytestmark = pytest.mark.slow  # lm-eval builds tens of thousands of requests, twice


@pytest.fixture(scope="module")
def official():
    """lm-eval's own tasks by name."""
    return TaskManager()


@pytest.fixture
def offline_hub(monkeypatch):
    """Let `datasets` return the rows for names on the hub; anything else it loads as usual."""
    load, rows = datasets.load_dataset, hub()

    def load_dataset(path, name=None, **settings):
        splits = rows.get((path, name or "default"))
        if splits is None:
            return load(path, name, **settings)
        return datasets.DatasetDict({split: datasets.Dataset.from_list(part) for split, part in splits.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Task files as moesift writes them, with the same rows read from files."""
    folder = tmp_path_factory.mktemp("local tasks")
    root = write(hub(), folder / "data of a user")
    localise_tasks(NAMES, lambda *names: from_directory(root, *names), folder / "made")
    return folder / "made" / "tasks"


@pytest.fixture(scope="module")
def model():
    """A tiny Llama with room for prompts with examples."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(
        **shape, vocab_size=320, max_position_embeddings=2560, pad_token_id=1, bos_token_id=None, eos_token_id=0
    )
    made = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
        # So that answers end after about twenty tokens, and not after the 1024 that are allowed.
        made.lm_head.weight[config.eos_token_id] *= 4
    made.generation_config.repetition_penalty = 2.0
    made.generation_config.suppress_tokens = [config.pad_token_id]  # else padding in a prompt would be a repetition
    return made


def requests(task, fewshot):
    """Return all requests of lm-eval as text, with the settings of its own command."""
    if fewshot is not None and task.get_config("num_fewshot") != 0:
        task.set_config(key="num_fewshot", value=fewshot)
    elif task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=1234)
    task.build_all_requests(rank=0, world_size=1)
    return [(instance.request_type, instance.doc_id, instance.idx, instance.args) for instance in task.instances]


@pytest.fixture(scope="module")
def localised(local):
    """Our task files of all tasks; to read them takes lm-eval seconds."""
    return TaskManager(include_path=local, include_defaults=False)


@pytest.mark.parametrize("fewshot", [None, 2])
@pytest.mark.parametrize("name", NAMES)
def test_every_request_and_setting_is_the_official_one(name, fewshot, official, localised, offline_hub):
    theirs, ours = official.load([name]), localised.load([name])
    assert list(ours["tasks"]) == list(theirs["tasks"])
    assert ours["group_map"] == theirs["group_map"]
    for part, task in ours["tasks"].items():
        other = theirs["tasks"][part]
        configs = [dict(each.dump_config()) for each in (task, other)]
        assert configs[0].pop("dataset_path") != configs[1].pop("dataset_path")
        for config in configs:
            config["metadata"].pop("config_source")
        assert configs[0] == configs[1]
        asked = requests(task, fewshot)
        assert asked == requests(other, fewshot)
        assert len(asked) >= len(other.eval_docs) > 0
        assert task.config.num_fewshot == other.config.num_fewshot
        for document, theirs_document in zip(task.eval_docs, other.eval_docs, strict=True):
            assert task.doc_to_text(document) == other.doc_to_text(theirs_document)
            assert task.doc_to_target(document) == other.doc_to_target(theirs_document)
            if task.config.doc_to_choice is not None:
                assert task.doc_to_choice(document) == other.doc_to_choice(theirs_document)


def renamed(key):
    """Return moesift's name of a number: `acc_stderr,none` is `acc_stderr` there."""
    metric, answers = key.split(",")
    name, error = metric.removesuffix("_stderr"), "_stderr" if metric.endswith("_stderr") else ""
    return f"{name}{'' if answers == 'none' else ',' + answers}{error}"


# Of BBH two tasks: all 27 would generate for many minutes. What they ask is compared above, all of it.
PARTS_OF_BBH = ["bbh_cot_fewshot_snarks", "bbh_zeroshot_snarks"]


@pytest.mark.parametrize("name", [*(name for name in NAMES if not name.startswith("bbh")), *PARTS_OF_BBH])
def test_results_are_the_official_ones(name, official, local, offline_hub, model, tokenizer):
    """Per question, by task and by group, with standard errors, versions and hashes."""
    ours = run_tasks(model, tokenizer, [Task(name=name)], local, batch_size=8)
    theirs = lm_eval.simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8),
        tasks=[name],
        bootstrap_iters=100,
        task_manager=official,
    )
    assert set(ours.tasks) == set(theirs["results"])
    for part, found in theirs["results"].items():
        numbers = {key: value for key, value in found.items() if isinstance(value, float)}
        assert ours.tasks[part]["metrics"] == {renamed(key): value for key, value in numbers.items()}
        assert ours.tasks[part]["version"] == theirs["versions"][part]
        assert ours.tasks[part]["fewshot"] == theirs["n-shot"].get(part, ours.tasks[part]["fewshot"])
        assert ours.tasks[part]["fewshot"] == OWN_FEWSHOT.get(name, 0)
    for part, samples in theirs["samples"].items():
        rows = ours.questions.filter(task=part)
        for sample in samples:
            label = {"none": ""}.get(sample["filter"], f",{sample['filter']}")
            for metric in sample["metrics"]:
                (row,) = rows.filter(doc_id=sample["doc_id"], metric=metric + label).to_dicts()
                assert row["value"] == sample[metric]
                assert row["doc_hash"] == sample["doc_hash"]
                if name in GENERATED:
                    assert (row["predicted"], row["gold"]) == (sample["filtered_resps"][0], str(sample["target"]))
                else:
                    assert row["loglikelihoods"] == [answer[0] for answer in sample["filtered_resps"]]
                if metric == "acc":
                    assert (row["predicted"] == row["gold"]) == bool(row["value"])
        assert rows.height == sum(len(sample["metrics"]) for sample in samples)


def test_groups_of_mmlu_weigh_every_question_alike(local, model, tokenizer):
    ours = run_tasks(model, tokenizer, [Task(name="mmlu")], local, batch_size=8)
    rows = ours.questions
    assert rows["task"].n_unique() == 57
    assert rows.group_by("task").len()["len"].n_unique() == 3  # subjects of unlike sizes, so that weights show
    group = ours.tasks["mmlu"]
    assert group["metrics"]["acc"] == pytest.approx(rows["value"].mean(), abs=1e-12)
    assert sum(group["shares"].values()) == pytest.approx(1)
    by_task = dict(rows.group_by("task").agg(pl.col("value").mean()).iter_rows())
    shared = sum(share * by_task[task] for task, share in group["shares"].items())
    assert shared == pytest.approx(group["metrics"]["acc"], abs=1e-12)
    # Pooled as lm-eval does: the variances within the subjects, by degrees of freedom.
    within = rows.group_by("task").agg(pl.len().alias("n"), pl.col("value").var().fill_null(0).alias("s"))
    pooled = (within["s"] * (within["n"] - 1)).sum() / (rows.height - within.height)
    assert group["metrics"]["acc_stderr"] == pytest.approx((pooled / rows.height) ** 0.5, abs=1e-12)


@pytest.mark.parametrize("name", ["mmlu_anatomy", "arc_easy", "hellaswag", "winogrande"])
@pytest.mark.parametrize("fewshot", [0, 2])
def test_loglikelihoods_do_not_depend_on_the_batch_size(name, fewshot, local, model, tokenizer):
    alone, together = (
        run_tasks(model, tokenizer, [Task(name=name, fewshot=fewshot)], local, batch_size=size) for size in (1, 8)
    )
    assert alone.questions.drop("loglikelihoods").equals(together.questions.drop("loglikelihoods"))
    for one, eight in zip(alone.questions["loglikelihoods"], together.questions["loglikelihoods"], strict=True):
        assert one.to_list() == pytest.approx(eight.to_list(), abs=1e-5, rel=0)


def test_generated_answers_do_not_depend_on_the_batch_size(local, model, tokenizer):
    """Of the words themselves, which the zero-shot tasks of BBH keep; their prompts are of unlike lengths."""
    tasks = [Task(name=f"bbh_zeroshot_{part}") for part in ("snarks", "navigate", "hyperbaton")]
    alone, together = (run_tasks(model, tokenizer, tasks, local, batch_size=size) for size in (1, 8))
    answers = alone.questions.filter(pl.col("metric") == "exact_match,strict-match")["predicted"]
    assert answers.n_unique() > 1
    assert (answers.str.len_chars() > 5).any()
    assert alone.questions.equals(together.questions)
