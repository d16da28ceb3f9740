"""What a change reruns: exactly what depends on it."""

import pytest

AFTER_SELECTION = {"train_adapter", "evaluate_adapter"}

pytestmark = pytest.mark.slow


def test_nothing_is_left_to_do(finished):
    assert finished.planned("--configfile", "tiny.yaml") == {}


def test_another_ratio_reruns_selection_training_and_evaluation_of_that_ratio(finished):
    changed = finished.configured("ratio", select={"ratio": 0.25})
    assert finished.planned("--configfile", changed) == {
        "select_ratio": 4,
        "train_adapter": 4,
        "evaluate_adapter": 4,
        "report": 1,
    }


def test_one_more_epoch_runs_that_epoch_and_what_reads_the_last(finished):
    changed = finished.configured("epochs", warmup={"epochs": 3})
    assert finished.planned("--configfile", changed) == {
        "warmup_epoch": 1,
        "score_shard": 2,
        "merge_scores": 1,
        "select_ratio": 1,
        "train_adapter": 1,
        "evaluate_adapter": 1,
        "report": 1,
    }


def test_another_trash_ratio_reruns_the_warm_up_and_what_scores_with_it(finished):
    changed = finished.configured("trash", warmup={"trash_ratio": 0.5})
    assert finished.planned("--configfile", changed) == {
        "warmup_start": 1,
        "warmup_epoch": 2,
        "score_shard": 4,
        "merge_scores": 2,
        "select_ratio": 2,
        "train_adapter": 2,
        "evaluate_adapter": 2,
        "report": 1,
    }


def test_throughput_reruns_nothing(finished):
    changed = finished.configured(
        "throughput", throughput={"score_tokens": 999, "micro_batch": 3, "eval_batch_size": 5, "threads": 2}
    )
    assert finished.planned("--configfile", changed) == {}


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        (
            "scoring",
            {
                "score_shard": 4,
                "merge_scores": 2,
                "select_ratio": 2,
                "train_adapter": 2,
                "evaluate_adapter": 2,
                "report": 1,
            },
        ),
        ("report", {"report": 1}),
    ],
)
def test_edited_code_reruns_its_stage(finished, module, jobs):
    path = finished.folder / "src" / "moesift" / f"{module}.py"
    code = path.read_text()
    try:
        path.write_text(code + "\n# a comment\n")
        assert finished.planned("--configfile", "tiny.yaml") == {}
        path.write_text(code + "\nEDITED = True\n")
        assert finished.planned("--configfile", "tiny.yaml") == jobs
    finally:
        path.write_text(code)


@pytest.mark.parametrize(
    ("target", "last"),
    [
        ("warmup", "warmup_epoch"),
        ("score", "score_baseline"),
        ("select", "select_ratio"),
        ("train", "train_adapter"),
        ("evaluate", "evaluate_adapter"),
    ],
)
def test_each_stage_can_be_asked_for_alone(checkout, target, last):
    jobs = checkout.snakemake("-n", target, "--configfile", checkout.configured("tiny")).stdout
    assert f"rule {last}:" in jobs
    assert "rule report:" not in jobs
