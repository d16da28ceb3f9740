import pytest
import torch
from given.models import FAMILIES, random_model
from transformers import AutoModelForCausalLM, NemotronHConfig

from moesift.models.experts import ONE_BY_ONE, TOGETHER, suit_device

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", [ONE_BY_ONE, TOGETHER])
def test_logits_and_gradients_are_those_of_transformers_own_loop(family, dtype, way):
    model = random_model(family).to(dtype)
    logits, gradients = [], []
    for name in ("eager", way):
        model.set_experts_implementation(name)
        model.zero_grad()
        logits.append(model(IDS).logits)
        logits[-1].square().mean().backward()
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
    with torch.no_grad():  # takes another path
        logits.append(model(IDS).logits)
    # bfloat16 has eight binary digits, and a sum in another order may differ in the last one.
    relative = 1e-5 if dtype == torch.float32 else 0.05
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=0, atol=relative)
    assert gradients[0].keys() == gradients[1].keys()
    assert any("router" in name or "gate" in name for name in gradients[0])
    for name, expected in gradients[0].items():
        atol = expected.abs().max().item() * relative
        torch.testing.assert_close(gradients[1][name], expected, rtol=0, atol=atol)
    assert way not in str(model.config.to_dict())  # a saved model does not need moesift


def test_experts_without_a_gate():
    torch.manual_seed(0)
    config = NemotronHConfig(
        vocab_size=64,
        hidden_size=16,
        layers_block_type=["moe", "attention"],
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=8,
        moe_shared_expert_intermediate_size=8,
        n_group=1,
        topk_group=1,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    model.set_experts_implementation("eager")
    expected = model(IDS).logits
    for way in (ONE_BY_ONE, TOGETHER):
        model.set_experts_implementation(way)
        torch.testing.assert_close(model(IDS).logits, expected, rtol=0, atol=1e-5)


def test_the_way_suits_the_device():
    model = random_model("Olmoe")
    default = model.config._experts_implementation
    suit_device(model.to("meta"))  # in place of any other device than a processor or a GPU
    assert model.config._experts_implementation == default != ONE_BY_ONE
    model = random_model("Olmoe")
    suit_device(model)
    assert model.config._experts_implementation == ONE_BY_ONE
