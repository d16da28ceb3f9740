"""A model in numbers of parameters: what it holds, and what a token passes through."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.lora_weights import LoraWeight
from moesift.models.routers import find_routers, has_routers


@dataclass(frozen=True)
class Shape:
    """A model in numbers of parameters."""

    total: int  # all parameters, tied ones once
    active: int  # those of one token: of E experts only the K that run
    body: int  # active parameters without embeddings and head
    head: int  # of the language-model head, tied or not
    norms: int  # weights of the normalisations
    hidden: int  # width D of the residual stream
    layers: int
    experts: int  # E, 0 in a dense model
    running: int  # K, experts that run for a token
    routed: int  # layers with a router
    dtype: torch.dtype  # of the stored weights
    lora: tuple[LoraWeight, ...] = ()  # of a target

    @property
    def weights(self) -> int:
        """Bytes of the weights as they are stored."""
        return self.total * self.dtype.itemsize


def shape_of(model: PreTrainedModel) -> Shape:
    """Return the shape of a model, which may be on the meta device.

    Experts are recognised by transformers' fused parameters, (E, ., .), and counted with all parameters of their
    module, such as biases. Shared experts run for every token.

    Args:
        model: made from its configuration, with the dtype that its weights are stored in.

    Raises:
        UserError: the configuration of a Mixture of Experts does not say how many experts run, or names too many.
    """
    config = model.config.get_text_config()
    experts = running = routed = idle = 0
    if has_routers(model.config):
        routers = find_routers(model)
        routed = len(routers)
        experts = next(iter(routers.values())).get_parameter("weight").shape[0]
        running = getattr(config, "num_experts_per_tok", None) or getattr(config, "moe_k", None)
        if running is None:
            raise UserError(f"{config.model_type}: its configuration has no num_experts_per_tok")
        if running > experts:
            raise UserError(f"{config.model_type}: num_experts_per_tok: {running} is more than its {experts} experts")
        for module in model.modules():
            parameters = list(module.parameters(recurse=False))
            if any(parameter.ndim == 3 and parameter.shape[0] == experts for parameter in parameters):
                idle += sum(parameter.numel() for parameter in parameters) * (experts - running) // experts
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}  # tied parameters once
    total = sum(sizes.values())
    embedding = model.get_input_embeddings().get_parameter("weight")
    head = model.get_output_embeddings().get_parameter("weight")
    outside = embedding.numel() if head is embedding else embedding.numel() + head.numel()
    return Shape(
        total=total,
        active=total - idle,
        body=total - idle - outside,
        head=head.numel(),
        norms=sum(size for name, size in sizes.items() if "norm" in name),
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        experts=experts,
        running=running,
        routed=routed,
        dtype=model.dtype,
    )
