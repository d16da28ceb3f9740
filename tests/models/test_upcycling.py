import pytest
import torch
import transformers
from given.models import SMALL
from transformers import AutoModelForCausalLM

from moesift.errors import UserError
from moesift.models import checkpoints
from moesift.models.routers import freeze_all_but
from moesift.models.upcycling import largest_difference, upcycled

IDS = torch.arange(5, 45).view(2, 20)
DENSE = {**SMALL, "intermediate_size": 48, "initializer_range": 0.1}
FAMILIES = {
    "Llama": {},
    "Llama with tied embeddings": {"tie_word_embeddings": True},
    "Llama with wide heads": {"head_dim": 16},
    "Llama 3": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
                                    "high_freq_factor": 4.0, "original_max_position_embeddings": 16}},
    "Mistral": {"sliding_window": 6},
    "Qwen2": {},
    "Qwen2 with a window": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "Qwen3": {"head_dim": 8},
    "Qwen3 with biases": {"head_dim": 8, "attention_bias": True},
}  # fmt: skip


def dense(name: str, **more) -> torch.nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name.split()[0]}Config")(**{**DENSE, **FAMILIES[name], **more})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms of one and biases of zero would hide mistakes
            parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.mark.parametrize("experts_per_token", [1, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_upcycled_model_computes_the_same_function(name, experts_per_token):
    model = dense(name)
    moe = upcycled(model, experts=4, experts_per_token=experts_per_token, seed=0)
    with torch.no_grad():
        logits, expected = moe(IDS).logits, model(IDS).logits
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
    assert largest_difference(model, moe, seed=1) < 1e-5
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (moe.get_output_embeddings().weight is moe.get_input_embeddings().weight) == tied


def test_experts_are_copies_and_only_routers_are_new():
    model = dense("Llama")
    moe = upcycled(model, experts=3, experts_per_token=2, seed=0)
    experts = moe.get_parameter("model.layers.1.mlp.experts.down_proj")
    dense_block = model.get_parameter("model.layers.1.mlp.down_proj.weight")
    assert all(torch.equal(expert, dense_block) for expert in experts)
    rows = moe.get_parameter("model.layers.1.mlp.gate.weight")
    assert rows.shape == (3, 32)
    assert 0.07 < rows.std().item() < 0.13  # the model's initializer_range
    again, other = (upcycled(model, 3, 2, seed).get_parameter("model.layers.1.mlp.gate.weight") for seed in (0, 1))
    assert torch.equal(rows, again)
    assert not torch.equal(rows, other)


def test_a_difference_is_noticed():
    model = dense("Llama")
    moe = upcycled(model, 2, 1, 0)
    with torch.no_grad():
        moe.get_parameter("model.layers.0.mlp.experts.down_proj").mul_(1.01)
    assert largest_difference(model, moe, seed=1) > 1e-4


@pytest.mark.parametrize("name", ["Llama with tied embeddings", "Mistral", "Qwen2", "Qwen3"])
def test_an_upcycled_model_is_a_selector(name, tmp_path, tokenizer):
    """Saved, loaded by plain transformers and by moesift; its routers take gradients, in every layer."""
    model = dense(name)
    upcycled(model, experts=4, experts_per_token=2, seed=0).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    with torch.no_grad():
        expected = model(IDS).logits
        assert (loaded.eval()(IDS).logits - expected).abs().max() < 1e-5 * expected.abs().max()
    selector = checkpoints.attach(str(tmp_path), 0.25, "appended", 0)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    selector.model(IDS, labels=IDS).loss.backward()
    assert len(trained) == 2 * 2
    assert all(parameter.grad.abs().max() > 0 for parameter in trained.values())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: dense("Llama", attention_bias=True), "LlamaForCausalLM does not fit MixtralForCausalLM"),
        (lambda: dense("Llama", mlp_bias=True), r"llama with model.layers.0.mlp.gate_proj.bias cannot be upcycled"),
        (
            lambda: AutoModelForCausalLM.from_config(transformers.GPT2Config(n_layer=1, n_embd=8, n_head=1)),
            "selector.upcycle: gpt2 cannot be upcycled; llama, mistral, qwen2, qwen3 can",
        ),
    ],
)
def test_a_model_without_a_moe_class_for_it_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        upcycled(model(), 2, 1, 0)
