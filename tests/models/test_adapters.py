"""What is loaded for an evaluation is what was trained: by moesift, and by plain peft from the files alone."""

import json

import pytest
import torch
from given.models import FAMILIES, random_dense_model, random_model
from peft import PeftModel
from safetensors.torch import load_file, save_file

from moesift.errors import UserError
from moesift.evaluation.heldout import heldout_losses
from moesift.models.adapters import add_lora, load_adapter
from moesift.models.chat import encode
from moesift.models.experts import suit_device

ATTENTION = {"DeepseekV2": ["q_b_proj", "kv_b_proj"], "DeepseekV3": ["q_b_proj", "kv_b_proj"]}
MLP = ["gate_proj", "up_proj", "down_proj"]
KINDS = [(family, torch.bfloat16) for family in [*FAMILIES, "Llama", "GPT2"]]
KINDS += [(family, dtype) for family in ("Olmoe", "Llama") for dtype in (torch.float32, torch.float16)]


@pytest.fixture
def examples(tokenizer, conversations):
    return encode(conversations, tokenizer, 60)


def tuned(model, targets, folder, dropout=0.0):
    """Tune a model for a few steps, save the adapter, and return what was trained."""
    torch.manual_seed(0)
    model = add_lora(model, 4, 8, dropout, targets).train()
    ids = torch.randint(2, 300, (3, 12), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.05)
    for _ in range(6):
        model(ids, labels=ids, use_cache=False).loss.backward()
        assert all(each.grad is not None for each in model.parameters() if each.requires_grad)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder, save_embedding_layers=False)
    return model.eval().get_base_model()


def nll(model, examples) -> float:
    losses = heldout_losses(model, examples, 1, 256)
    return losses["nll"].sum() / losses["tokens"].sum()


@pytest.mark.parametrize(("family", "dtype"), KINDS, ids=str)
def test_the_loss_is_that_of_the_trained_model(family, dtype, examples, tmp_path):
    def fresh():
        model = random_model(family) if family in FAMILIES else random_dense_model(family, tie_word_embeddings=False)
        model = model.to(dtype)
        suit_device(model)
        return model

    targets = [*ATTENTION.get(family, ["q_proj", "o_proj"]), *MLP, "lm_head", "embed_tokens"]
    trained = tuned(fresh(), ["c_attn", "c_fc", "lm_head"] if family == "GPT2" else targets, tmp_path)
    names = load_file(tmp_path / "adapter_model.safetensors")
    assert {value.dtype for value in names.values()} == {torch.float32}
    assert any(".experts." in name for name in names) == (family in FAMILIES)
    expected, untuned = nll(trained, examples), nll(fresh(), examples)
    assert abs(expected - untuned) > 1e-3
    assert nll(load_adapter(fresh(), tmp_path), examples) == pytest.approx(expected, abs=1e-6)
    plain = PeftModel.from_pretrained(fresh(), tmp_path).get_base_model()
    assert nll(plain, examples) == pytest.approx(expected, abs=1e-6)


def test_dropout_is_of_the_training_alone(examples, tmp_path):
    trained = tuned(random_dense_model(), ["q_proj", *MLP], tmp_path, dropout=0.5)
    loaded = load_adapter(random_dense_model().train(), tmp_path)
    assert nll(loaded, examples) == pytest.approx(nll(trained, examples), abs=1e-6)


def test_an_adapter_that_does_not_fit_is_refused(tmp_path):
    tuned(random_dense_model(), ["q_proj", "v_proj"], tmp_path)
    with pytest.raises(UserError, match=r"(?s): not a complete adapter of `train_adapter`: .*size mismatch"):
        load_adapter(random_dense_model(hidden_size=16), tmp_path)
    with pytest.raises(UserError, match=r": is not an adapter of this target: .* differ"):
        load_adapter(random_dense_model(num_hidden_layers=3), tmp_path)
    file, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    weights = load_file(file)
    save_file(dict(list(weights.items())[1:]), file)  # peft would only warn
    with pytest.raises(UserError, match=rf": is not an adapter of this target: .*{next(iter(weights))}"):
        load_adapter(random_dense_model(), tmp_path)
    save_file(weights, file)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"target_modules": ["q_proj"]}))
    with pytest.raises(UserError, match=r": is not an adapter of this target: .*v_proj"):
        load_adapter(random_dense_model(), tmp_path)
