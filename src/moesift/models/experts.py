"""Routed experts, faster than transformers' own product of all experts at once (`grouped_mm`).

That one writes the outputs of each token's experts to memory several times, on a GPU in float32 as soon as the weights
of the router are. Here their weighted sum is taken while they are gathered. On a processor one expert comes after the
other, so that its numbers stay in the cache; on a GPU all of them are one product.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS, _grouped_linear

from moesift.models.routers import has_routers

# Their names for `set_experts_implementation`.
ONE_BY_ONE, TOGETHER = "one_by_one", "together"
SUITED = {"cpu": ONE_BY_ONE, "cuda": TOGETHER}


def suit_device(model: PreTrainedModel) -> None:
    """Make a model compute its routed experts in the way that is fast where it is."""
    if model.device.type in SUITED and has_routers(model.config):
        model.set_experts_implementation(SUITED[model.device.type])


def one_by_one(experts: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, (N, D).

    Args:
        experts: a module that transformers' `use_experts_implementation` decorates, with flags for its weights' layout.
        hidden: (N, D).
        top_k_index: the experts of each token, (N, K) int64.
        top_k_weights: their weights, (N, K).
    """
    chosen = top_k_index.shape[1]
    by_expert, order = top_k_index.flatten().sort(stable=True)  # (N * K,)
    counts = torch.bincount(by_expert, minlength=experts.num_experts).tolist()
    if torch.is_grad_enabled():  # one gather: the backward pass of several would each fill an (N, D) of its own
        inputs = iter(hidden.index_select(0, order // chosen).split(counts))
    else:
        inputs = (hidden.index_select(0, rows) for rows in (order // chosen).split(counts))
    outputs = []
    for expert, rows in enumerate(inputs):  # (n, D)
        if len(rows):
            outputs.append(_through(experts, rows, partial(_linear, experts, expert)))  # (n, D)
    stacked = torch.cat(outputs)  # (N * K, D)
    weights, places = top_k_weights.to(stacked.dtype), _inverse(order).view_as(top_k_index)
    return F.embedding_bag(places, stacked, mode="sum", per_sample_weights=weights)  # (N, D)


def together(experts: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Do as `one_by_one`, with one product of all experts; nothing waits for the GPU."""
    by_expert, order = top_k_index.flatten().sort(stable=True)  # (N * K,)
    places = _inverse(order).view_as(top_k_index)  # (N, K)
    every = torch.arange(experts.num_experts, device=order.device)
    ends = torch.searchsorted(by_expert, every, right=True).int()  # (E,), where the tokens of each expert end
    rows = _Spread.apply(hidden, order // top_k_index.shape[1], places)  # (N * K, D)
    outputs = _through(experts, rows, partial(_linear_of_all, experts, ends, by_expert))  # (N * K, D)
    return _Gather.apply(outputs, top_k_weights.to(outputs.dtype), order, places)  # (N, D)


class _Spread(torch.autograd.Function):
    """Copy each token to its K places; backward, sum over them, in an order that does not change from run to run."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return hidden.index_select(0, tokens)  # (N, D) -> (N * K, D)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return F.embedding_bag(places, upstream[0].contiguous(), mode="sum"), None, None  # (N * K, D) -> (N, D)


class _Gather(torch.autograd.Function):
    """Sum what is at each token's K places, by its weights."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, weights: Tensor, order: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(outputs, weights, order, places)
        return F.embedding_bag(places, outputs, mode="sum", per_sample_weights=weights)  # (N * K, D) -> (N, D)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None, None]:
        outputs, weights, order, places = ctx.saved_tensors
        (gradient,) = upstream  # (N, D)
        spread = gradient.index_select(0, order // places.shape[1])  # (N * K, D)
        products = outputs.index_select(0, places.flatten()).view(*places.shape, -1) @ gradient.unsqueeze(2)
        return spread * weights.flatten()[order].unsqueeze(1), products.squeeze(2), None, None  # (N * K, D), (N, K)


def _through(experts: Any, rows: Tensor, linear: Callable[[str, Tensor], Tensor]) -> Tensor:
    """Return the outputs of experts, (n, D), by a linear map that is named after their weights."""
    inner = linear("gate_up_proj" if experts.has_gate else "up_proj", rows)  # (n, D) -> (n, 2I) or (n, I)
    inner = experts._apply_gate(inner) if experts.has_gate else experts.act_fn(inner)  # (n, I)
    output = linear("down_proj", inner)  # (n, D)
    return experts.post_expert_norm(output) if experts.has_post_expert_norm else output


def _inverse(order: Tensor) -> Tensor:
    """Return where each place of an order went, (n,)."""
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device)
    return places


def _linear_of_all(experts: Any, ends: Tensor, by_expert: Tensor, name: str, inputs: Tensor) -> Tensor:
    bias = getattr(experts, f"{name}_bias")[by_expert] if experts.has_bias else None
    return _grouped_linear(inputs, getattr(experts, name), ends, bias=bias, is_transposed=experts.is_transposed)


def _linear(experts: Any, expert: int, name: str, inputs: Tensor) -> Tensor:
    # Not by `get_parameter`: in a forward pass peft puts the sum of weight and LoRA in the place of a parameter.
    weight = getattr(experts, name)[expert]
    bias = getattr(experts, f"{name}_bias")[expert] if experts.has_bias else None
    return F.linear(inputs, weight.T if experts.is_transposed else weight, bias)


ALL_EXPERTS_FUNCTIONS.register(ONE_BY_ONE, one_by_one)
ALL_EXPERTS_FUNCTIONS.register(TOGETHER, together)
