"""Tiny random models of every family that moesift is tested with."""

import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

SMALL = {
    "vocab_size": 320,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": None,
    "eos_token_id": 0,
}
FOUR = {"intermediate_size": 16, "num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "intermediate_size": 32,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
    "topk_group": 1,
}
QWEN = {"intermediate_size": 32, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}

FAMILIES = {
    "Olmoe": {"intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2},
    "Mixtral": FOUR,
    "Qwen2Moe": {**QWEN, "shared_expert_intermediate_size": 16},
    "Qwen3Moe": {**QWEN, "head_dim": 8},
    "DeepseekV2": {**LATENT, "topk_method": "greedy", "n_group": 1},
    "DeepseekV3": {**LATENT, "n_group": 2},
    "GptOss": {**FOUR, "head_dim": 8},
    "GraniteMoe": FOUR,
    "Phimoe": FOUR,
}


def random_model(family: str) -> PreTrainedModel:
    """A tiny MoE with random weights; some classes initialise routers with zeros, which would hide mistakes."""
    return _random(family, FAMILIES[family])


def random_dense_model(family: str = "Llama", **settings) -> PreTrainedModel:
    """A tiny dense model with random weights."""
    return _random(family, {"intermediate_size": 48} | settings)


def _random(family: str, settings: dict) -> PreTrainedModel:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**(SMALL | settings))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model
