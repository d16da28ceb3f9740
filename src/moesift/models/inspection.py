"""What a model is, told by its configuration and its tokenizer: no weights are read."""

from dataclasses import dataclass
from typing import cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedTokenizerFast

from moesift.config import EMBEDDED, SMOLLM2, Upcycle
from moesift.errors import UserError
from moesift.demo import embedded
from moesift.models.loading import load_config, load_tokenizer, require_safetensors
from moesift.models.routers import UPCYCLE, has_routers
from moesift.models.shapes import Shape, shape_of
from moesift.models.upcycling import upcycled_config


def described(key: str, model: str) -> dict[str, str | bool | None]:
    """Return a model's architecture, whether it has routers, and on the hub its commit; its files are tried as well.

    What the workflow makes itself is not there yet.
    """
    if model in (EMBEDDED, SMOLLM2):
        routers = model == EMBEDDED and key == "selector.model"
        return {"model": model, "architecture": None, "routers": routers, "commit": None}
    config = load_config(model, key)
    require_safetensors(model)
    load_tokenizer(model)
    return {
        "model": model,
        "architecture": config.model_type,
        "routers": has_routers(config),
        "commit": getattr(config, "_commit_hash", None),  # a directory has none
    }


def require_routers(model: str, routers: bool, upcycled: bool, routed: bool) -> None:
    """Refuse a selector without routers where a method reads them, and one that has routers and is to be upcycled.

    Raises:
        UserError: names the key.
    """
    if routers and upcycled:
        raise UserError(f"selector.upcycle: {model} has routers already, so leave it at null")
    if routed and not (routers or upcycled):
        raise UserError(f"selector.model: {model} has no routers; {UPCYCLE}")


@dataclass(frozen=True)
class Outline:
    """A model without its weights."""

    shape: Shape
    tokenizer: PreTrainedTokenizerFast
    positions: int | None  # that it was made for; None: it does not say


def outlined(key: str, model: str, lora_targets: list[str], upcycle: Upcycle | None = None) -> Outline:
    """Return the outline of a model that is there, upcycled where that is asked for."""
    config = load_config(model, key)
    require_safetensors(model)
    has_routers(config)  # a model that is no causal language model is named here
    dtype = cast(torch.dtype | None, config.get_text_config().dtype)
    if upcycle is not None:
        config = upcycled_config(config, upcycle.experts, upcycle.experts_per_token)
        dtype = dtype if upcycle.dtype is None else getattr(torch, upcycle.dtype)
    return _outline(config, dtype, load_tokenizer(model), lora_targets)


def embedded_outline(role: str, tokenizer: PreTrainedTokenizerFast, lora_targets: list[str]) -> Outline:
    """Return the outline of a model that the workflow will pretrain with this tokenizer."""
    config = {"selector": embedded.moe_config, "target": embedded.dense_config}[role](tokenizer)
    return _outline(config, torch.float32, tokenizer, lora_targets)


def _outline(
    config: PreTrainedConfig, dtype: torch.dtype | None, tokenizer: PreTrainedTokenizerFast, lora_targets: list[str]
) -> Outline:
    with torch.device("meta"):
        # Without a dtype in the configuration, the weights are taken to be float32, as the shape then says.
        empty = AutoModelForCausalLM.from_config(config, dtype=dtype or torch.float32)
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return Outline(shape_of(empty, lora_targets), tokenizer, positions)
