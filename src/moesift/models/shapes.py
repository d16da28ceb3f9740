"""A model in numbers of parameters: what it holds, and what a token meets."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.routers import find_routers, has_routers


@dataclass(frozen=True)
class Shape:
    """A model in numbers of parameters.

    Attributes:
        total: all parameters, tied ones once.
        active: those that one token meets: of E fused experts only the K that run.
        body: active without embeddings and head: what a token is multiplied with before the head.
        head: of the language-model head, tied or not.
        norms: weights of normalisations over all layers.
        hidden: width D of the residual stream.
        layers: decoder layers.
        cached: numbers that one token leaves in the key-value cache, over all layers.
        experts: E, 0 in a dense model.
        running: K, experts that run for a token.
        routed: layers with a router.
        dtype: of the stored weights.
        lora: (inputs, outputs) of each module that gets LoRA matrices.
    """

    total: int
    active: int
    body: int
    head: int
    vocabulary: int
    norms: int
    hidden: int
    layers: int
    cached: int
    experts: int
    running: int
    routed: int
    dtype: torch.dtype
    lora: tuple[tuple[int, int], ...]

    @property
    def weights(self) -> int:
        """Bytes of the weights as they are stored."""
        return self.total * self.dtype.itemsize


def shape_of(model: PreTrainedModel, lora_targets: Sequence[str]) -> Shape:
    """Return the shape of a model, which may lie on the meta device.

    Experts are told by transformers' fused parameters (E, ., .), whatever the family; what else their module holds
    (biases) counts with them. Shared experts run for every token.

    Args:
        model: made from its configuration, with the dtype that its weights are stored in.
        lora_targets: ends of names of the modules that would get LoRA matrices.

    Raises:
        UserError: a Mixture-of-Experts model whose configuration does not say how many experts run.
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
        for module in model.modules():
            own = list(module.parameters(recurse=False))
            if any(parameter.ndim == 3 and parameter.shape[0] == experts for parameter in own):
                idle += sum(parameter.numel() for parameter in own) * (experts - running) // experts
    named = dict(model.named_parameters())  # tied parameters once
    total = sum(parameter.numel() for parameter in named.values())
    embedding = model.get_input_embeddings().get_parameter("weight")
    head = model.get_output_embeddings().get_parameter("weight")
    looked_up = embedding.numel() if head is embedding else embedding.numel() + head.numel()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        total=total,
        active=total - idle,
        body=total - idle - looked_up,
        head=head.numel(),
        vocabulary=head.shape[0],
        norms=sum(parameter.numel() for name, parameter in named.items() if "norm" in name),
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        cached=2 * heads * width * config.num_hidden_layers,
        experts=experts,
        running=running,
        routed=routed,
        dtype=model.dtype,
        lora=tuple(
            (module.in_features, module.out_features)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in lora_targets
        ),
    )
