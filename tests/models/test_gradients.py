import pytest
import torch
from given.gradients import TARGETS, alone, with_lora
from given.models import random_dense_model, random_model
from peft import LoraConfig, get_peft_model

from moesift.errors import UserError
from moesift.models import gradients
from moesift.models.batches import collate
from moesift.models.chat import encode
from moesift.models.gradients import each_gradient, lora_matrices

MODELS = {
    "Llama": (random_dense_model, TARGETS),
    "Qwen2": (lambda: random_dense_model("Qwen2"), [*TARGETS, "gate_proj", "up_proj", "down_proj"]),
    "GPT2": (lambda: random_dense_model("GPT2", n_embd=32, n_head=4, n_layer=2), ["c_attn", "c_proj"]),
    "Olmoe": (lambda: random_model("Olmoe"), TARGETS),
    "Mixtral": (lambda: random_model("Mixtral"), TARGETS),
    "GptOss": (lambda: random_model("GptOss"), TARGETS),
    "DeepseekV3": (lambda: random_model("DeepseekV3"), ["q_a_proj", "q_b_proj", "kv_b_proj", "o_proj"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_gradient_is_that_of_the_example_alone(name, tokenizer, conversations, monkeypatch):
    make, targets = MODELS[name]
    model = with_lora(make(), targets)
    examples = encode(conversations, tokenizer, 60)
    expected = [alone(model, example) for example in examples]
    model.requires_grad_(name == "Llama")  # of the others nothing requires a gradient
    found = {matrix: torch.full((len(examples), one.numel()), torch.nan) for matrix, one in expected[0].items()}
    monkeypatch.setattr(gradients, "NUMBERS", 600)  # of the larger matrices few examples at a time

    def take(matrix, rows, values):
        found[matrix][rows] = values

    with torch.no_grad():  # as passes are read
        each_gradient(model, collate(examples, tokenizer.pad_token_id), take)
    assert set(found) == set(lora_matrices(model))
    for number, example in enumerate(expected):
        for matrix, gradient in example.items():
            apart, largest = (found[matrix][number] - gradient.flatten()).abs().max(), gradient.abs().max()
            assert apart < 1e-5
            assert apart < 1e-3 * largest, (matrix, largest)  # some gradients are tiny themselves
    assert all(parameter.grad is None for parameter in model.parameters())


def test_modules_that_read_no_tokens_of_their_own_are_refused_by_name(tokenizer, conversations):
    batch = collate(encode(conversations, tokenizer, 60), tokenizer.pad_token_id)
    moe = random_model("Olmoe")
    get_peft_model(moe, LoraConfig(r=2, target_modules=[], target_parameters=["mlp.experts.down_proj"]))
    with pytest.raises(UserError, match=r"lora_targets: model.layers.0.mlp.experts is ParamWrapper, not Linear"):
        lora_matrices(moe)
    with pytest.raises(UserError, match="lora_targets: lm_head is the head"):
        lora_matrices(with_lora(random_dense_model(), ["lm_head"]))
    shared = with_lora(random_dense_model())
    shared.model.layers[1] = shared.model.layers[0]
    with pytest.raises(UserError, match=r"layers.0.self_attn.q_proj does not read each token once"):
        each_gradient(shared, batch, lambda *_: None)
