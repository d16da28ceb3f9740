import pytest
import torch
import transformers
from given.models import FAMILIES, random_model
from transformers import AutoModelForCausalLM

from moesift.errors import UserError
from moesift.models.shapes import shape_of


@pytest.mark.parametrize(
    ("family", "settings", "total", "active"),
    [
        ("Olmoe", {"intermediate_size": 1024}, 6.92e9, 1.28e9),
        ("Llama", {}, 6.74e9, 6.74e9),  # transformers' defaults
        (
            "Qwen2",
            {
                "hidden_size": 1536,
                "num_hidden_layers": 28,
                "num_attention_heads": 12,
                "num_key_value_heads": 2,
                "intermediate_size": 8960,
                "vocab_size": 151936,
                "tie_word_embeddings": True,
            },
            1.54e9,
            1.54e9,
        ),
    ],
)
def test_the_published_sizes(family, settings, total, active):
    """OLMoE-1B-7B, Llama-2-7B and Qwen2.5-1.5B, as their authors give them."""
    config = getattr(transformers, f"{family}Config")(**settings)
    with torch.device("meta"):
        shape = shape_of(AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16))
    assert shape.total == pytest.approx(total, abs=0.005e9)
    assert shape.active == pytest.approx(active, abs=0.005e9)


@pytest.mark.parametrize("family", FAMILIES)
def test_active_parameters_are_those_that_one_token_moves(family):
    """Of each fused parameter, the slices of experts with a gradient; all of any other parameter."""
    model = random_model(family)
    shape = shape_of(model)
    model(torch.tensor([[5]]), use_cache=False).logits.square().sum().backward()
    active = total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if ".experts." in name:
            active += sum(slice.numel() for slice in parameter.grad if slice.any())
        else:
            active += parameter.numel()
    assert (shape.total, shape.active) == (total, active)
    assert shape.active < shape.total


def test_tied_embeddings_count_once_and_the_head_still_runs():
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=6
    )
    config.tie_word_embeddings = True
    shape = shape_of(AutoModelForCausalLM.from_config(config))
    # q, k, v, o of 8 x 8, three of 8 x 6, three norms of 8; embeddings of 11 x 8
    layers = 4 * 64 + 3 * 48 + 3 * 8
    assert (shape.total, shape.body, shape.head) == (layers + 88, layers, 88)
    assert (shape.norms, shape.hidden, shape.layers) == (24, 8, 1)


def test_more_experts_for_a_token_than_there_are_is_an_error():
    config = transformers.OlmoeConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=6, num_experts=4
    )
    config.num_experts_per_tok = 5
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UserError, match="olmoe: num_experts_per_tok: 5 is more than its 4 experts"):
        shape_of(model)
