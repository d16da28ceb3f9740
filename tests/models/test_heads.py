import pytest
import torch
from given.models import FAMILIES, random_dense_model, random_model
from transformers import AutoModelForCausalLM, BertConfig

from moesift.errors import UserError
from moesift.models import heads
from moesift.models.batches import Batch
from moesift.models.heads import hidden_states, logits, middle_inputs, middle_states
from moesift.models.routers import TrashCan

IDS = torch.arange(2, 14).view(2, 6)
BATCH = Batch(IDS, torch.ones_like(IDS), torch.ones_like(IDS).bool())

# Dense families: the block that the middle one of four layers is expected to have, and their own names for the sizes.
DENSE = {
    "Llama": ("model.layers.2.mlp", {}),
    "Qwen2": ("model.layers.2.mlp", {}),
    "Gemma2": ("model.layers.2.mlp", {"head_dim": 8}),
    "GPTNeoX": ("gpt_neox.layers.2.mlp", {}),
    "GPT2": ("transformer.h.2.mlp", {}),
    "OPT": ("model.decoder.layers.2.fc1", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "Mpt": ("transformer.blocks.2.ffn", {"d_model": 32, "n_heads": 4, "n_layers": 4}),
}


def model_of(family: str):
    if family in FAMILIES:
        return random_model(family)
    return random_dense_model(family, num_hidden_layers=4, **DENSE[family][1])


@pytest.mark.parametrize("family", [*FAMILIES, *DENSE])
def test_body_and_head_together_are_the_whole_model(family):
    """Granite and Gemma scale or cap their logits after the head, PhiMoE's head has a bias."""
    model = model_of(family)
    with torch.no_grad():
        whole = model(IDS).logits  # (2, 6, V)
        hidden = hidden_states(model, BATCH)  # (2, 6, D)
        some = logits(model, hidden[1, 2:5])
        again = model(IDS).logits
    assert torch.allclose(some, whole[1, 2:5], atol=1e-6)
    assert torch.equal(again, whole)  # the body is restored


def test_the_body_is_restored_after_an_error():
    model = random_dense_model()
    with pytest.raises(RuntimeError, match="mat1"):
        logits(model, torch.zeros(3, 7))
    assert model(IDS).logits.shape == (2, 6, 320)


@pytest.mark.parametrize("family", DENSE)
def test_the_middle_of_a_dense_model_is_the_input_of_its_feed_forward_block(family):
    model = model_of(family)
    expected = []
    model.get_submodule(DENSE[family][0]).register_forward_pre_hook(
        lambda _, inputs: expected.append(inputs[0].clone())
    )
    with torch.no_grad(), middle_inputs(model) as middle:
        model(IDS)
        recorded = middle().reshape(2, 6, -1)
        assert torch.equal(recorded, expected[0].reshape(2, 6, -1))
        model(IDS.flip(0))
        assert torch.allclose(middle().reshape(2, 6, -1), recorded.flip(0), atol=1e-6)
        again = middle()
    assert recorded.shape[-1] == 32
    model(IDS)  # after the block nothing is recorded
    assert middle() is again


@pytest.mark.parametrize("family", FAMILIES)
def test_the_middle_of_a_moe_is_the_input_of_its_middle_router(family):
    """Against the warm-up's own record of its inputs, and the same without trash cans: they are read as they come."""
    model = random_model(family)
    trash_can = TrashCan(model, 0.5, "appended", seed=0, gate="open")
    with torch.no_grad(), middle_inputs(model) as middle:
        model(IDS)
        recorded = middle().reshape(12, -1).clone()
    routings = list(trash_can.routing.values())
    assert torch.equal(recorded, routings[len(routings) // 2].router_inputs)
    with torch.no_grad(), middle_inputs(plain := random_model(family)) as middle:
        plain(IDS)
        assert torch.allclose(middle().reshape(12, -1), recorded, atol=1e-6)


@pytest.mark.parametrize("family", [*FAMILIES, *DENSE])
def test_reading_the_middle_ends_there_with_the_same_result(family):
    model, ran = model_of(family), []
    with torch.no_grad(), middle_inputs(model) as middle:
        model(IDS)
        expected = middle().reshape(2, 6, -1).clone()
        blocks = (heads._middle_block(model), model.base_model.get_decoder())
        for one in blocks:
            one.register_forward_hook(lambda *_: ran.append(1))
        assert torch.equal(middle_states(model, BATCH), expected)
        assert not ran
        model(IDS)
    assert len(ran) == 2


def test_a_model_without_a_feed_forward_block_is_refused():
    model = AutoModelForCausalLM.from_config(
        BertConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, is_decoder=True, intermediate_size=32)
    )
    with pytest.raises(UserError, match="BertLMHeadModel: no feed-forward block was found"), middle_inputs(model):
        pass
