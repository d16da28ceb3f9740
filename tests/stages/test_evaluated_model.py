"""The stage without lm-eval: the held-out loss that it writes is that of the model that was trained."""

import json

import polars as pl
import pytest
import torch
from given.models import random_dense_model, random_model

from moesift import config
from moesift.errors import UserError
from moesift.evaluation.heldout import heldout_loss, heldout_losses
from moesift.evaluation.tasks import QUESTIONS, Measured
from moesift.models.adapters import add_lora
from moesift.models.chat import encode_responses
from moesift.models.loading import load_model
from moesift.models.tuning import full
from moesift.stages import evaluate


@pytest.fixture
def evaluated(tmp_path, tokenizer, conversations, monkeypatch):
    """A function that evaluates a model, with targets for an adapter or `full`, and returns both losses."""
    monkeypatch.setattr(evaluate, "run_tasks", lambda *_: Measured({}, pl.DataFrame(schema=QUESTIONS)))
    pl.DataFrame({"id": list("abcdef"), "messages": conversations}).write_parquet(tmp_path / "heldout.parquet")

    def run(model, targets=()):
        folder = tmp_path / ("whole" if targets == "full" else "adapter")
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        model, _ = load_model(str(tmp_path / "model"))
        if targets == "full":
            tuning = full(model, tokenizer, None)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
            tuning.save(model, model.state_dict(), folder)
            (folder / "training.json").write_text('{"settings": {"method": "full"}}')
        elif targets:
            model = add_lora(model, 4, 8, 0.0, targets).train()
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if "lora_B" in name:
                        parameter.normal_(std=0.3)
            model.save_pretrained(folder, save_embedding_layers=False)
            (folder / "training.json").write_text('{"settings": {"method": "lora"}}')
            model = model.eval().get_base_model()
        evaluate.main(
            str(tmp_path / "model"),
            tmp_path / "heldout.parquet",
            tmp_path / "out.json",
            tmp_path / "questions.parquet",
            {"method": "random"},
            threads=1,
            batch_size=1,
            token_budget=64,
            max_length=60,
            evaluate=config.Evaluate.model_construct(tasks=[]),
            tuned=folder if targets else None,
        )
        encoded = encode_responses(conversations, tokenizer, 60)
        expected = heldout_loss(heldout_losses(model, encoded, tokenizer.pad_token_id, 64))
        return json.loads((tmp_path / "out.json").read_text())["heldout"]["nll"], expected["nll"]

    return run


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["Llama", "Qwen2Moe"])
def test_the_loss_is_that_of_the_model_that_was_trained(family, dtype, evaluated):
    model = random_dense_model() if family == "Llama" else random_model(family)
    untuned, expected = evaluated(model.to(dtype))
    assert untuned == pytest.approx(expected, abs=1e-6)
    tuned, expected = evaluated(model, ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"])
    assert tuned == pytest.approx(expected, abs=1e-6)
    assert abs(tuned - untuned) > 1e-3
    whole, expected = evaluated(model, "full")
    assert whole == pytest.approx(expected, abs=1e-6)
    assert abs(whole - untuned) > 0.02


@pytest.mark.parametrize(
    ("targets", "advice"), [((), "are its weights complete"), (["q_proj"], "lower train.learning")]
)
def test_a_loss_that_is_not_finite_is_no_measurement(targets, advice, evaluated, tmp_path):
    model = random_dense_model()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(UserError, match=rf": the loss is not finite on 6 held-out examples, such as a, b, c; {advice}"):
        evaluated(model, targets)
    assert not (tmp_path / "out.json").exists()
