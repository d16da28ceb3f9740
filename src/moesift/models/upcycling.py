"""Turn a dense model into a Mixture-of-Experts model that computes the same function, so that it can be a selector.

Sparse upcycling (Komatsuzaki et al., arXiv 2212.05055): every expert is a copy of the dense feed-forward block. The
weights of the K experts that run sum to one, so their weighted sum is the dense block's output, whichever experts run.
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

# The MoE class of each dense architecture, with the settings that upcycling needs. Qwen2's also has a shared expert,
# which gets the smallest size, and zeros.
MOE: dict[str, tuple[type[PretrainedConfig], dict[str, Any]]] = {
    "llama": (MixtralConfig, {}),
    "mistral": (MixtralConfig, {}),
    "qwen2": (Qwen2MoeConfig, {"norm_topk_prob": True, "shared_expert_intermediate_size": 1}),
    "qwen3": (Qwen3MoeConfig, {"norm_topk_prob": True}),
}
OF_THE_DENSE_CLASS = ("model_type", "architectures", "transformers_version", "dtype")  # settings not to carry over


def upcycled_config(dense: PretrainedConfig, experts: int, experts_per_token: int) -> PretrainedConfig:
    """Return the configuration of the MoE model that `upcycled` returns, without its dtype.

    Raises:
        UserError: the architecture cannot be upcycled, or the model is quantised.
    """
    if dense.model_type not in MOE:
        raise UserError(f"selector.upcycle: {dense.model_type} cannot be upcycled; {', '.join(MOE)} can")
    if hasattr(dense, "quantization_config"):
        raise UserError("selector.upcycle: a quantised model cannot be upcycled; save it dequantised first")
    moe_class, settings = MOE[dense.model_type]
    carried = {key: value for key, value in dense.to_dict().items() if key not in OF_THE_DENSE_CLASS}
    sizes = {"num_experts": experts, "num_experts_per_tok": experts_per_token}
    return moe_class.from_dict(carried | sizes | {"moe_intermediate_size": dense.intermediate_size} | settings)


def upcycled(dense: PreTrainedModel, experts: int, experts_per_token: int, seed: int) -> PreTrainedModel:
    """Return a MoE model with `experts` copies of each feed-forward block of `dense`, in its dtype.

    Args:
        dense: a Llama, Mistral, Qwen2 or Qwen3 model.
        experts: E, the copies in each layer.
        experts_per_token: K, the experts that run for each token; 1 costs as much compute as the dense model.
        seed: of the routers' rows, which are drawn with the standard deviation of the dense model's initialisation.

    Raises:
        UserError: as `upcycled_config`, or the model has weights that its MoE class has no place for.
    """
    config = upcycled_config(dense.config, experts, experts_per_token)
    with no_init_weights():  # every weight is set below
        moe = AutoModelForCausalLM.from_config(config, dtype=dense.dtype)
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
                f"selector.upcycle: {dense.config.model_type} with {name} cannot be upcycled: its MoE class has no "
                "such weight"
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
    moe.tie_weights()  # part of the initialisation that was skipped
    moe.generation_config = dense.generation_config
    return moe.to(dense.device).eval()


@torch.inference_mode()
def largest_difference(model: PreTrainedModel, other: PreTrainedModel, seed: int) -> float:
    """Return the largest difference of two models' logits on random tokens, as a share of the largest logit."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(model.config.vocab_size, (2, 64), generator=generator).to(model.device)  # (2, 64)
    logits, other_logits = model(ids).logits, other(ids).logits  # (2, 64, V)
    return ((logits - other_logits).abs().max() / logits.abs().max()).item()
