"""A dense model as a Mixture-of-Experts model that computes the same function, so that it can be a selector.

Sparse upcycling (Komatsuzaki et al., arXiv 2212.05055): every expert is a copy of the dense feed-forward block. The
weights of the K experts that run sum to one, so their sum is the dense block's output, whichever run.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    MixtralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)
from transformers.initialization import no_init_weights

from moesift.errors import UserError

# The MoE class of a dense architecture, and its names for what upcycling adds. Qwen2's has a shared expert beside the
# others; it is made as small as it can be, and zero.
SHAPES: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "llama": (MixtralConfig, {}),
    "mistral": (MixtralConfig, {}),
    "qwen2": (Qwen2MoeConfig, {"norm_topk_prob": True, "shared_expert_intermediate_size": 1}),
    "qwen3": (Qwen3MoeConfig, {"norm_topk_prob": True}),
}
# What a configuration says of the dense class itself.
OF_THE_CLASS = ("model_type", "architectures", "transformers_version", "dtype")


def upcycled_config(dense: PretrainedConfig, experts: int, experts_per_token: int) -> PretrainedConfig:
    """Return the configuration of the MoE model that `upcycled` makes, but for its dtype.

    Raises:
        UserError: the architecture is none that can be upcycled, or is quantised.
    """
    kind = dense.model_type
    if kind not in SHAPES:
        raise UserError(f"selector.upcycle: {kind} cannot be upcycled; {', '.join(SHAPES)} can")
    if hasattr(dense, "quantization_config"):
        raise UserError("selector.upcycle: a quantised model cannot be upcycled; save it dequantised first")
    config_class, own = SHAPES[kind]
    return config_class.from_dict(
        {
            **{key: value for key, value in dense.to_dict().items() if key not in OF_THE_CLASS},
            "num_experts": experts,
            "num_experts_per_tok": experts_per_token,
            "moe_intermediate_size": dense.intermediate_size,
            **own,
        }
    )


def upcycled(dense: PreTrainedModel, experts: int, experts_per_token: int, seed: int) -> PreTrainedModel:
    """Return a MoE model with `experts` copies of each feed-forward block of `dense`, in its dtype.

    Args:
        dense: a Llama, Mistral, Qwen2 or Qwen3 model.
        experts: E, the copies in each layer.
        experts_per_token: K of them run for each token; 1 costs no more compute than the dense model.
        seed: of the routers' rows, which are drawn with the spread of the dense model's initialisation.

    Raises:
        UserError: the architecture is another one, is quantised, or has weights that its MoE class has no place for.
    """
    shape = upcycled_config(dense.config, experts, experts_per_token)
    with no_init_weights():  # every weight is given below
        moe = AutoModelForCausalLM.from_config(shape, dtype=dense.dtype)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, value in dense.state_dict().items():
        block, is_feed_forward, part = name.partition(".mlp.")
        if not is_feed_forward:
            state[name] = value
        elif part == "gate_proj.weight":
            up = dense.get_parameter(f"{block}.mlp.up_proj.weight")
            gate_up = torch.cat([value, up])  # (I, D), (I, D) -> (2I, D)
            state[f"{block}.mlp.experts.gate_up_proj"] = gate_up.expand(experts, -1, -1)  # (E, 2I, D)
            rows = torch.randn(experts, value.shape[1], generator=generator) * dense.config.initializer_range
            state[f"{block}.mlp.gate.weight"] = rows  # (E, D)
        elif part == "down_proj.weight":
            state[f"{block}.mlp.experts.down_proj"] = value.expand(experts, -1, -1)  # (E, D, I)
        elif part != "up_proj.weight":
            raise UserError(
                f"selector.upcycle: {dense.config.model_type} with {name} cannot be upcycled: no MoE class has a place "
                "for it"
            )
    for name, value in moe.state_dict().items():
        if "shared_expert" in name:
            state[name] = torch.zeros_like(value)
    try:
        moe.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"selector.upcycle: {type(dense).__name__} does not fit {type(moe).__name__}: {error}"
        ) from error
    moe.tie_weights()  # which is part of the initialisation that was left out
    moe.generation_config = dense.generation_config
    return moe.to(dense.device).eval()


@torch.inference_mode()
def largest_difference(model: PreTrainedModel, other: PreTrainedModel, seed: int) -> float:
    """Return the largest difference of two models' logits on random tokens, as a share of the largest logit."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (2, 64), generator=generator).to(model.device)  # (2, 64)
    logits, others = model(ids).logits, other(ids).logits  # (2, 64, V)
    return ((logits - others).abs().max() / logits.abs().max()).item()
