"""A causal language model in parts: the body that computes hidden states, its middle layer, and the head."""

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.batches import Batch
from moesift.models.routers import ForwardEnded, find_routers, has_routers

FEED_FORWARD = ("mlp", "feed_forward", "ffn", "fc1")  # transformers' names of the block, or of its first linear map


class _Output:
    """The output of a body with hidden states only; whatever else the head of a family looks for is None."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> Tensor | None:
        return self.last_hidden_state if index == 0 else None

    def __getattr__(self, name: str) -> None:
        return None


def hidden_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the last hidden states of a batch, (B, T, D), after the final norm; the head does not run."""
    return _body(model)(batch.ids, use_cache=False).last_hidden_state


def logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the logits of some last hidden states, (n, D) -> (n, V).

    The model's own forward pass computes them, with its body replaced by one that returns these hidden states. Some
    families scale or cap the output of their head, and this way no family needs a rule of its own.
    """
    body = _body(model)
    body.forward = lambda *_, **__: _Output(hidden[None])
    try:
        return model(torch.zeros((1, 1), dtype=torch.int64, device=hidden.device), use_cache=False).logits[0]
    finally:
        del body.forward  # restores the method of the class


def _body(model: PreTrainedModel) -> Any:
    """Return the module whose output the head reads; OPT and its kin call the decoder inside of their base model."""
    base: Any = model.base_model
    body = base.get_decoder()
    if body is model:
        raise UserError(f"{type(model).__name__}: transformers does not name the body that its head belongs to")
    return body


def middle_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return what `middle_inputs` records of a batch, (B, T, D); that block and all behind it do not run."""
    with middle_inputs(model, ends=True) as middle, suppress(ForwardEnded):
        _body(model)(batch.ids, use_cache=False)
    return middle().reshape(*batch.ids.shape, -1)


@contextmanager
def middle_inputs(model: PreTrainedModel, ends: bool = False) -> Generator[Callable[[], Tensor]]:
    """Record the input of the feed-forward block in the middle layer; in a MoE that is the input of the layer's router.

    Of L layers, or L layers with a router in a MoE, the middle one has the index L // 2, from 0.

    Args:
        ends: the forward pass ends there, by `ForwardEnded`.

    Yields:
        A function that returns the input in the last forward pass, of N = B * T tokens, in the dtype of the model.

    Raises:
        UserError: the model has no such block.
    """
    recorded: list[Tensor] = []

    def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        recorded[:] = [*inputs, *named.values()][:1]
        if ends:
            raise ForwardEnded

    handle = _middle_block(model).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield lambda: recorded[0]
    finally:
        handle.remove()


def _middle_block(model: PreTrainedModel) -> nn.Module:
    """Return the middle router of a MoE, or the feed-forward block in the middle layer of a dense model."""
    if has_routers(model.config):
        routers = list(find_routers(model).values())
        return routers[len(routers) // 2]
    count = model.config.get_text_config().num_hidden_layers
    for layers in model.base_model.modules():
        if isinstance(layers, nn.ModuleList) and len(layers) == count:
            for name in FEED_FORWARD:
                if isinstance(block := getattr(layers[count // 2], name, None), nn.Module):
                    return block
    raise UserError(
        f"{type(model).__name__}: no feed-forward block was found in the middle of its {count} layers, under any of "
        f"the names {', '.join(FEED_FORWARD)}; take another selector, or methods that do not read `hidden`"
    )
