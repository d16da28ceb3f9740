import json
import sys

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from moesift import losses
from moesift.chat import encode
from moesift.embedded import dense_config
from moesift.errors import UserError
from moesift.models import load_model
from moesift.pool import EXAMPLE, content_id
from moesift.stages import study_train

WORDS = ["iron", "the cat", "a mat on the mat", "no", "which metal", "sat", "the", "mat mat", "iron iron", "cat sat"]


def frame(count, start):
    rows = []
    for n in range(start, start + count):
        answer = WORDS[n % len(WORDS)]
        turns = [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": answer}]
        rows.append(
            ("a" if n % 2 else "b", n, turns, [answer, "on"], "clean" if n % 3 else "truncated", None, n % 4 > 0)
        )
    examples = pl.DataFrame(rows, schema=EXAMPLE, orient="row")
    return examples.with_columns(id=pl.Series([content_id(turns) for turns in examples["messages"].to_list()]))


@pytest.fixture(scope="module")
def case(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("case")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(dense_config(tokenizer), dtype=torch.float32)
    model.save_pretrained(folder / "target")
    tokenizer.save_pretrained(folder / "target")
    pool = frame(20, 0)
    pool.write_parquet(folder / "pool.parquet")
    frame(6, 20).write_parquet(folder / "heldout.parquet")
    (folder / "scores").mkdir()
    pool.select("id", score=pl.col("source_index").cast(pl.Float64)).write_parquet(folder / "scores/nll.parquet")
    return folder


def trained(case, out, arms, **changed):
    """Run the stage and return its rows and its log."""
    values = {
        "model": case / "target",
        "pool": case / "pool.parquet",
        "heldout": case / "heldout.parquet",
        "scores": case / "scores/nll.parquet",
        "out": out.with_suffix(".parquet"),
        "log": out.with_suffix(".json"),
        "seed": 1,
        "threads": 1,
        "token-budget": 512,
        "arms": json.dumps(arms),
        "ratios": "[0.2]",
        "tokens": 300,
        "max-length": 64,
        "learning-rate": 0.01,
        "warmup-ratio": 0.1,
        "batch-size": 4,
        "lora-rank": 2,
        "lora-alpha": 4,
        "lora-dropout": 0.1,
        "lora-targets": '["q_proj"]',
    }
    words = [str(word) for name, value in (values | changed).items() for word in (f"--{name}", value)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["study_train", *words])
        study_train.main()
    return pl.read_parquet(out.with_suffix(".parquet")), json.loads(out.with_suffix(".json").read_text())["runs"]


def of(rows, arm):
    return rows.filter(pl.col("arm") == arm).drop("arm")


def test_every_arm_starts_from_the_same_weights_and_sees_as_many_tokens(case, tmp_path):
    rows, runs = trained(case, tmp_path / "one", ["nll", "random", "full"])
    assert [(run["arm"], run["ratio"]) for run in runs] == [
        ("base", None),
        ("nll", 0.2),
        ("random", 0.2),
        ("full", 1.0),
    ]
    assert [run.get("examples") for run in runs] == [None, 4, 4, 20]
    tokens = [run["tokens"] for run in runs[1:]]
    assert min(tokens) >= 300
    assert max(tokens) < 300 + 4 * 40  # within a step of four examples
    again, _ = trained(case, tmp_path / "two", ["full", "random", "nll"])
    for arm in ("base", "nll", "random", "full"):
        assert of(rows, arm).equals(of(again, arm))
    assert not of(rows, "nll")["nats"].equals(of(rows, "random")["nats"])
    # The four best by nll are 16 to 19, of which 18 is spoilt.
    assert runs[1]["kept_corrupted"] == 0.25


def test_the_base_is_the_target_as_it_is(case, tmp_path):
    rows, _ = trained(case, tmp_path / "out", [])
    model, tokenizer = load_model(str(case / "target"))
    heldout = pl.read_parquet(case / "heldout.parquet")
    examples = encode(heldout["messages"].to_list(), tokenizer, 64)
    expected = losses.nats(model, tokenizer.pad_token_id, examples, 64)
    assert rows["id"].to_list() == heldout["id"].to_list()
    assert rows["nats"].to_list() == pytest.approx(expected, abs=1e-3)
    assert rows["tokens"].to_list() == [example.predicted for example in examples]
    others = [[turns[0], {**turns[1], "content": "on"}] for turns in heldout["messages"].to_list()]
    encoded = encode(others, tokenizer, 64)
    wrong = losses.nats(model, tokenizer.pad_token_id, encoded, 64)
    right = [
        own / example.predicted < other / choice.predicted
        for own, example, other, choice in zip(expected, examples, wrong, encoded, strict=True)
    ]
    assert rows["right"].to_list() == right


def test_an_example_with_one_answer_is_not_judged(case, tmp_path):
    frame(6, 20).with_columns(choices=pl.lit(None, pl.List(pl.String))).write_parquet(tmp_path / "alone.parquet")
    rows, _ = trained(case, tmp_path / "out", [], heldout=tmp_path / "alone.parquet")
    assert rows["right"].null_count() == rows.height == 6


def test_responses_that_are_all_cut_off_are_an_error(case, tmp_path):
    with pytest.raises(UserError, match=r"data\.max_length: no kept example has a response within 8 tokens"):
        trained(case, tmp_path / "out", ["nll"], **{"max-length": 8})
