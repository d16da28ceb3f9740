"""The routed experts on a processor: one after the other, each on the tokens that were sent to it.

transformers' own product for all experts at once (`grouped_mm`) writes what every token gets of every expert to memory
several times over. Here an expert's numbers stay in the processor's cache, and the sum over a token's experts is taken
while they are gathered.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from moesift.models.routers import has_routers

ONE_BY_ONE = "one_by_one"  # the name under which `set_experts_implementation` knows it


def suit_device(model: PreTrainedModel) -> None:
    """Have a model that is on a processor compute its routed experts one by one; on a GPU transformers' way stays."""
    if model.device.type == "cpu" and has_routers(model.config):
        model.set_experts_implementation(ONE_BY_ONE)


def one_by_one(experts: Any, hidden: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
    """Return the weighted sum of the chosen experts' outputs, (N, D).

    Args:
        experts: a module of transformers' that `use_experts_implementation` decorates, which tells how its weights lie.
        hidden: (N, D).
        top_k_index: the experts of each token, (N, K) int64.
        top_k_weights: what each one's output counts, (N, K).
    """
    tokens, chosen = top_k_index.shape
    sent, order = top_k_index.flatten().sort(stable=True)  # (N * K,): by expert
    counts = torch.bincount(sent, minlength=experts.num_experts).tolist()
    first = "gate_up_proj" if experts.has_gate else "up_proj"
    if torch.is_grad_enabled():  # all at once: the backward pass of each gather would fill (N, D) of its own
        given = iter(hidden.index_select(0, order // chosen).split(counts))
    else:
        given = (hidden.index_select(0, rows) for rows in (order // chosen).split(counts))
    outputs = []
    for expert, own in enumerate(given):  # (n, D)
        if not len(own):
            continue
        made = _product(experts, first, expert, own)  # (n, D) -> (n, 2I) or (n, I)
        made = experts._apply_gate(made) if experts.has_gate else experts.act_fn(made)  # (n, I)
        made = _product(experts, "down_proj", expert, made)  # (n, D)
        outputs.append(experts.post_expert_norm(made) if experts.has_post_expert_norm else made)
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order), device=order.device)
    found = torch.cat(outputs)  # (N * K, D)
    weights = top_k_weights.to(found.dtype)
    return F.embedding_bag(places.view(tokens, chosen), found, mode="sum", per_sample_weights=weights)  # (N, D)


def _product(experts: Any, name: str, expert: int, given: Tensor) -> Tensor:
    weight = experts.get_parameter(name)[expert]
    bias = experts.get_parameter(f"{name}_bias")[expert] if experts.has_bias else None
    return F.linear(given, weight.T if experts.is_transposed else weight, bias)


ALL_EXPERTS_FUNCTIONS.register(ONE_BY_ONE, one_by_one)
