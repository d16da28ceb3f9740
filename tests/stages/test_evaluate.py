"""The stage `evaluate`, but for lm-eval, which `tests/evaluation` is about."""

import json

import polars as pl
import pytest
import torch
from given.models import random_model

from moesift import flags
from moesift.errors import UserError
from moesift.evaluation.tasks import QUESTIONS, Measured
from moesift.models.chat import encode
from moesift.stages import evaluate

SHORT = [[{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": f"yes {n}"}] for n in range(4)]
CUT = [[{"role": "user", "content": "Say no. " * 60}, {"role": "assistant", "content": "no"}]]  # no token is left


@pytest.fixture
def measure(tmp_path, tokenizer, monkeypatch):
    """What runs the stage on held-out examples by their names, and returns its JSON, its parquet and the model."""
    model = random_model("Olmoe").eval()
    monkeypatch.setattr(evaluate, "load_model", lambda name, dtype: (model, tokenizer))
    nothing = Measured({}, pl.DataFrame(schema=QUESTIONS))
    monkeypatch.setattr(evaluate, "run_tasks", lambda *given: nothing)

    def run(heldout, targets):
        for name, conversations in {"heldout": heldout, **targets}.items():
            ids = [f"{name} {n}" for n in range(len(conversations))]
            pl.DataFrame({"id": ids, "messages": conversations}).write_parquet(tmp_path / f"{name}.parquet")
        words = ["--model", "any", "--heldout", str(tmp_path / "heldout.parquet"), "--out", str(tmp_path / "out.json")]
        words += ["--questions", str(tmp_path / "questions.parquet"), "--label", '{"method": "m"}', "--threads", "1"]
        words += [
            "--batch-size",
            "1",
            "--token-budget",
            "500",
            "--max-length",
            "100",
            "--evaluate",
            '{"tasks": [{"name": "any"}]}',
        ]
        words += ["--targets", json.dumps({name: str(tmp_path / f"{name}.parquet") for name in targets})]
        evaluate.main(**flags.parsed(evaluate.main, words))
        return json.loads((tmp_path / "out.json").read_text()), pl.read_parquet(tmp_path / "questions.parquet"), model

    return run


def test_each_target_has_the_loss_on_its_own_examples(measure, tokenizer):
    found, rows, model = measure(SHORT[:1], {"b": CUT + SHORT[1:], "a": SHORT[3:]})
    nll, tokens = [], []
    for example in encode(SHORT, tokenizer, 100):
        labels = [token if response else -100 for token, response in zip(example.ids, example.response, strict=True)]
        with torch.no_grad():
            mean = model(torch.tensor([example.ids]), labels=torch.tensor([labels])).loss.item()
        tokens.append(sum(example.response))
        nll.append(mean * tokens[-1])
    assert list(found["targets"]) == ["b", "a"]
    for measured, own in ((found["heldout"], [0]), (found["targets"]["b"], [1, 2, 3]), (found["targets"]["a"], [3])):
        total = sum(tokens[n] for n in own)
        assert measured["nll"] == pytest.approx(sum(nll[n] for n in own) / total, abs=1e-5)
        assert (measured["tokens"], measured["examples"]) == (total, len(own))
    assert rows.filter(task="heldout:b", metric="tokens").select("doc_id", "doc_hash", "value").rows() == [
        (n, f"b {n}", tokens[n]) for n in (1, 2, 3)
    ]
    assert rows["task"].unique(maintain_order=True).to_list() == ["heldout", "heldout:b", "heldout:a"]


def test_without_targets_there_is_none_and_examples_that_are_all_cut_are_refused(measure):
    found, rows, _ = measure(SHORT, {})
    assert found["targets"] == {}
    assert set(rows["task"]) == {"heldout"}
    with pytest.raises(UserError, match=r"a\.parquet: data\.max_length: no example has a response token within 100"):
        measure(SHORT, {"a": CUT})
