"""Which of lm-eval's own tasks are refused before anything is read."""

import sys

import pytest

from moesift.evaluation.index import members, task_manager, unusable

ADVICE = "and moesift runs none; remove it"


@pytest.mark.parametrize("name", ["mmlu", "gsm8k", "arc_easy", "wikitext", "winogrande", "bbh", "tydiqa_goldp"])
def test_tasks_in_use_are_taken(name):
    assert unusable([name], from_hub=True) == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["humaneval"], f"humaneval runs code that the model writes, {ADVICE}"),
        (["mbpp", "gsm8k"], f"mbpp runs code that the model writes, {ADVICE}"),
        (["squadv2"], f"squadv2 is measured by a metric whose code is on the hub, {ADVICE}"),
        (["mmmu_val"], "mmmu_val_art of mmmu_val asks about images or sounds, and the target reads text alone; remove"),
        (["mmlu", "mmlu_anatomy"], "mmlu_anatomy is in mmlu as well; name it once"),
        (["arc_easy", "ai2_arc"], "arc_easy of ai2_arc is in arc_easy as well; name it once"),
        (["mmlu_stem", "mmlu"], "mmlu_abstract_algebra of mmlu is in mmlu_stem as well; name it once"),
        (["gsm9k"], "unknown task gsm9k; did you mean gsm8k"),
    ],
)
def test_a_task_that_cannot_be_used_is_named(names, message):
    (said,) = unusable(names, from_hub=True).values()
    assert said.startswith(f"evaluate.tasks: {message}")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "langdetect", None)  # as if it were not installed
    (said,) = unusable(["ifeval"], from_hub=False).values()
    assert said.startswith("evaluate.tasks: ifeval needs the package langdetect that is not installed here")


def test_code_of_a_data_set_is_a_matter_of_the_hub():
    assert "needs code from its data set's repository" in unusable(["mmlu_early_training"], from_hub=True).popitem()[1]
    assert unusable(["mmlu_early_training"], from_hub=False) == {}


def test_members_of_groups_and_tags():
    index = task_manager().task_index
    assert len(members("mmlu", index)) == 57
    assert sorted(members("ai2_arc", index)) == ["arc_challenge", "arc_easy"]
    nested = {"group": "mine", "task": ["arc_easy", {"task": "gsm8k"}, "nothing"]}
    assert members(nested, index).keys() == {
        "arc_easy",
        "gsm8k",
    }
