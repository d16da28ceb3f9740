"""The stage `evaluate`, but for lm-eval, which `tests/evaluation` is about."""

import json

import polars as pl
import pytest
import torch
from given.models import random_model

from moesift import config
from moesift.errors import UserError
from moesift.evaluation.tasks import QUESTIONS, Measured
from moesift.models.adapters import add_lora
from moesift.models.chat import encode
from moesift.stages import evaluate

SHORT = [[{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": f"yes {n}"}] for n in range(4)]
CUT = [[{"role": "user", "content": "Say no. " * 60}, {"role": "assistant", "content": "no"}]]  # no token is left


@pytest.fixture
def model():
    return random_model("Olmoe").eval()


@pytest.fixture
def measure(tmp_path, model, tokenizer, monkeypatch):
    """What runs the stage on held-out examples by their names, and returns its JSON and its parquet."""
    monkeypatch.setattr(evaluate, "run_tasks", lambda *given: Measured({}, pl.DataFrame(schema=QUESTIONS)))

    def run(heldout, targets, tuned=None):
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path / "model")
        files = {name: tmp_path / f"{name}.parquet" for name in ("heldout", *targets)}
        for name, conversations in {"heldout": heldout, **targets}.items():
            ids = [f"{name} {n}" for n in range(len(conversations))]
            pl.DataFrame({"id": ids, "messages": conversations}).write_parquet(files[name])
        evaluate.main(
            str(tmp_path / "model"),
            files.pop("heldout"),
            tmp_path / "out.json",
            tmp_path / "questions.parquet",
            {"method": "m"},
            threads=1,
            batch_size=1,
            token_budget=500,
            max_length=100,
            evaluate=config.Evaluate.model_construct(tasks=[]),
            targets=files,
            tuned=tuned,
        )
        return json.loads((tmp_path / "out.json").read_text()), pl.read_parquet(tmp_path / "questions.parquet")

    return run


@pytest.fixture
def adapter(tmp_path):
    """The folder of an adapter of the model, and the model that was trained."""
    trained = add_lora(random_model("Olmoe"), 4, 8, 0.0, ["v_proj", "down_proj", "lm_head"])
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    trained.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    (tmp_path / "adapter" / "training.json").write_text('{"settings": {"method": "lora"}}')
    return tmp_path / "adapter", trained.eval().get_base_model()


def losses(model, tokenizer):
    """Return the losses of transformers on the short examples, one at a time, and their response tokens."""
    nll, tokens = [], []
    for example in encode(SHORT, tokenizer, 100):
        labels = [token if response else -100 for token, response in zip(example.ids, example.response, strict=True)]
        with torch.no_grad():
            mean = model(torch.tensor([example.ids]), labels=torch.tensor([labels])).loss.item()
        tokens.append(sum(example.response))
        nll.append(mean * tokens[-1])
    return nll, tokens


def test_each_target_has_the_loss_on_its_own_examples(measure, model, tokenizer):
    found, rows = measure(SHORT[:1], {"b": CUT + SHORT[1:], "a": SHORT[3:]})
    nll, tokens = losses(model, tokenizer)
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
    found, rows = measure(SHORT, {})
    assert found["targets"] == {}
    assert set(rows["task"]) == {"heldout"}
    with pytest.raises(UserError, match=r"a\.parquet: data\.max_length: no example has a response token within 100"):
        measure(SHORT, {"a": CUT})


def test_the_loss_of_an_adapter_is_that_of_the_model_that_was_trained(measure, model, adapter, tokenizer):
    folder, trained = adapter
    (tuned, _), (untuned, _) = measure(SHORT, {}, folder), measure(SHORT, {})
    for found, of in ((tuned, trained), (untuned, model)):
        nll, tokens = losses(of, tokenizer)
        assert found["heldout"]["nll"] == pytest.approx(sum(nll) / sum(tokens), abs=1e-5)
    assert abs(tuned["heldout"]["nll"] - untuned["heldout"]["nll"]) > 1e-3


@pytest.mark.parametrize(("is_tuned", "advice"), [(False, "are its weights complete"), (True, "lower train.learning")])
def test_a_loss_that_is_not_finite_is_no_measurement(measure, model, adapter, tmp_path, is_tuned, advice):
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    message = rf": the loss is not finite on 4 held-out examples, such as heldout 0, heldout 1, heldout 2; {advice}"
    with pytest.raises(UserError, match=message):
        measure(SHORT, {}, adapter[0] if is_tuned else None)
    assert not (tmp_path / "out.json").exists()
