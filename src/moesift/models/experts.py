"""Routed experts on a processor: one expert after the other, each on the tokens that were sent to it.

transformers' own product of all experts at once (`grouped_mm`) writes the output of each token's experts to memory
several times. Here an expert's numbers stay in the processor's cache, and the sum over a token's experts is taken while
they are gathered.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from moesift.models.routers import has_routers

ONE_BY_ONE = "one_by_one"  # its name for `set_experts_implementation`


def suit_device(model: PreTrainedModel) -> None:
    """Make a model on a processor compute its routed experts one by one; on a GPU transformers' own way is faster."""
    if model.device.type == "cpu" and has_routers(model.config):
        model.set_experts_implementation(ONE_BY_ONE)


def one_by_one(experts: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, (N, D).

    Args:
        experts: a module that transformers' `use_experts_implementation` decorates, with flags for its weights' layout.
        hidden: (N, D).
        top_k_index: the experts of each token, (N, K) int64.
        top_k_weights: their weights, (N, K).
    """
    tokens, chosen = top_k_index.shape
    by_expert, order = top_k_index.flatten().sort(stable=True)  # (N * K,)
    counts = torch.bincount(by_expert, minlength=experts.num_experts).tolist()
    first = "gate_up_proj" if experts.has_gate else "up_proj"
    if torch.is_grad_enabled():  # one gather: the backward pass of several would each fill an (N, D) of its own
        inputs = iter(hidden.index_select(0, order // chosen).split(counts))
    else:
        inputs = (hidden.index_select(0, rows) for rows in (order // chosen).split(counts))
    outputs = []
    for expert, rows in enumerate(inputs):  # (n, D)
        if not len(rows):
            continue
        inner = _linear(experts, first, expert, rows)  # (n, D) -> (n, 2I) or (n, I)
        inner = experts._apply_gate(inner) if experts.has_gate else experts.act_fn(inner)  # (n, I)
        output = _linear(experts, "down_proj", expert, inner)  # (n, D)
        outputs.append(experts.post_expert_norm(output) if experts.has_post_expert_norm else output)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device)
    stacked = torch.cat(outputs)  # (N * K, D)
    weights = top_k_weights.to(stacked.dtype)
    return F.embedding_bag(places.view(tokens, chosen), stacked, mode="sum", per_sample_weights=weights)  # (N, D)


def _linear(experts: Any, name: str, expert: int, inputs: Tensor) -> Tensor:
    # Not by `get_parameter`: in a forward pass peft puts the sum of weight and LoRA in the place of a parameter.
    weight = getattr(experts, name)[expert]
    bias = getattr(experts, f"{name}_bias")[expert] if experts.has_bias else None
    return F.linear(inputs, weight.T if experts.is_transposed else weight, bias)


ALL_EXPERTS_FUNCTIONS.register(ONE_BY_ONE, one_by_one)
