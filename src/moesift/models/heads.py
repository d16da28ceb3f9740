"""A causal language model in its two halves: a body that makes hidden states, and a head that makes logits of them."""

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import MoeModelOutputWithPast

from moesift.models.batches import Batch


def hidden_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return what the body makes of a batch, (B, T, D); the head does not run."""
    return model.base_model(batch.ids, use_cache=False).last_hidden_state


def logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the logits of some hidden states, (n, D) -> (n, V).

    The model's own forward pass makes them, with these hidden states in the place of its body's: some families scale or
    cap what the head puts out, and this way nothing of a family needs to be known.
    """
    body = model.base_model
    body.forward = lambda *_, **__: MoeModelOutputWithPast(last_hidden_state=hidden[None])
    try:
        return model(torch.zeros((1, 1), dtype=torch.int64, device=hidden.device), use_cache=False).logits[0]
    finally:
        del body.forward  # that of the class serves again
