"""A target tuned in full: what is trained, and what is saved of it."""

import json

import pytest
import torch
from given.models import random_dense_model, random_model
from safetensors.torch import load_file
from transformers import LlamaConfig

from moesift.errors import UserError
from moesift.models.loading import load_model
from moesift.models.tuning import full, load_tuned, require_tunable


@pytest.mark.parametrize("family", ["Llama", "Olmoe", "Qwen2Moe"])
def test_all_weights_are_trained_and_saved_in_float32(family, tmp_path, tokenizer):
    model = random_dense_model() if family == "Llama" else random_model(family)
    model.bfloat16().save_pretrained(tmp_path / "target")
    tokenizer.save_pretrained(tmp_path / "target")
    target, words = load_model(str(tmp_path / "target"))
    tuning = full(target, words, None)
    assert {(value.dtype, value.requires_grad) for value in tuning.model.parameters()} == {(torch.float32, True)}
    with torch.no_grad():
        for parameter in tuning.model.parameters():
            parameter.mul_(2)
    tuning.save(tuning.model, tuning.model.state_dict(), tmp_path / "tuned")

    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("target", "tuned"))
    assert before.keys() == after.keys()
    assert all(torch.equal(2 * before[name].float(), after[name]) for name in before)
    assert {value.dtype for value in after.values()} == {torch.float32}
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("target", "tuned")]
    assert configs[0] | {"dtype": "float32"} == configs[1]
    loaded, same_words = load_tuned("not read", tmp_path / "tuned", "full")
    assert (loaded.dtype, same_words.get_vocab()) == (torch.float32, words.get_vocab())


def test_tied_weights_are_saved_once(tmp_path, tokenizer):
    model = random_dense_model(tie_word_embeddings=True).bfloat16()
    tuning = full(model, tokenizer, None)
    tuning.save(tuning.model, tuning.model.state_dict(), tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded, _ = load_tuned("not read", tmp_path, "full")
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_quantized_weights_are_not_trained():
    require_tunable(LlamaConfig())
    with pytest.raises(
        UserError, match=r"train\.method: full trains all weights, and those of target\.model are quant"
    ):
        require_tunable(LlamaConfig(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}))
