import pytest
import torch
from given.models import FAMILIES, random_model
from transformers import LlamaConfig, LlamaForCausalLM

from moesift.models.batches import Batch
from moesift.models.heads import hidden_states, logits

IDS = torch.arange(2, 14).view(2, 6)
BATCH = Batch(IDS, torch.ones_like(IDS), torch.ones_like(IDS).bool())


def dense():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=320, **shape)).eval()


@pytest.mark.parametrize("family", [*FAMILIES, "dense"])
def test_the_two_halves_are_the_whole_in_any_family(family):
    """Granite scales its logits behind the head, PhiMoE's head has a bias: the two halves must not lose that."""
    model = dense() if family == "dense" else random_model(family)
    with torch.no_grad():
        whole = model(IDS).logits  # (2, 6, V)
        hidden = hidden_states(model, BATCH)  # (2, 6, D)
        some = logits(model, hidden[1, 2:5])
        again = model(IDS).logits
    assert torch.allclose(some, whole[1, 2:5], atol=1e-6)
    assert torch.equal(again, whole)  # the body is back in its place


def test_the_body_is_back_after_a_head_that_failed():
    model = dense()
    with pytest.raises(RuntimeError, match="mat1"):
        logits(model, torch.zeros(3, 7))
    assert model(IDS).logits.shape == (2, 6, 320)
