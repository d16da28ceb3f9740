"""A causal language model in parts: a body that makes hidden states, its middle, and a head that makes logits."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import MoeModelOutputWithPast

from moesift.errors import UserError
from moesift.models.batches import Batch
from moesift.models.routers import find_routers, has_routers

FEED_FORWARD = ("mlp", "feed_forward", "ffn", "fc1")  # what transformers calls the block, or the first map of it


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


@contextmanager
def middle_inputs(model: PreTrainedModel) -> Generator[Callable[[], Tensor]]:
    """Listen to what the feed-forward block in the middle of a model reads; in a MoE it is what its router reads.

    Yields:
        A function that returns what it read in the last forward pass, of N = B * T tokens, in the dtype of the model.

    Raises:
        UserError: the model has no such block.
    """
    read: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        read[:] = inputs[:1]

    handle = _middle(model).register_forward_pre_hook(hook)
    try:
        yield lambda: read[0]
    finally:
        handle.remove()


def _middle(model: PreTrainedModel) -> nn.Module:
    """Return the router of the middle one of the routed layers, or the feed-forward block of the middle layer."""
    if has_routers(model.config):
        routers = list(find_routers(model).values())
        return routers[len(routers) // 2]
    count = model.config.get_text_config().num_hidden_layers
    layers = [each for each in model.modules() if isinstance(each, nn.ModuleList) and len(each) == count]
    blocks = [getattr(layers[0][count // 2], name, None) for name in FEED_FORWARD] if layers else []
    if block := next((block for block in blocks if block is not None), None):
        return block
    raise UserError(
        f"{type(model).__name__}: no feed-forward block was found in the middle of its {count} layers, under any of "
        f"{', '.join(FEED_FORWARD)}; take another selector, or methods that do not read `hidden`"
    )
