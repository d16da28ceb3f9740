"""What a model is, from its configuration and its tokenizer: no weights are read."""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.quantizers import AutoHfQuantizer

from moesift.config import EMBEDDED, SMOLLM2, Config, Train
from moesift.demo import embedded
from moesift.errors import UserError
from moesift.models.batches import positions_of
from moesift.models.chat import require_embeddings
from moesift.models.loading import (
    commit_of,
    load_config,
    load_tokenizer,
    require_causal,
    require_classifier,
    require_safetensors,
)
from moesift.models.lora_weights import lora_weights
from moesift.models.routers import has_routers
from moesift.models.shapes import Shape, shape_of
from moesift.models.tuning import require_tunable
from moesift.models.upcycling import upcycled_config
from moesift.plan import no_routers

# The kind of the targets that the workflow makes, and their layers, before they are there.
MADE_HERE = {
    model: LlamaConfig(num_hidden_layers=layers, tie_word_embeddings=True)
    for model, layers in {EMBEDDED: embedded.LAYERS, SMOLLM2: 30}.items()
}


class Outline(NamedTuple):
    """A model without its weights."""

    empty: PreTrainedModel  # on the meta device
    shape: Shape
    tokenizer: PreTrainedTokenizerFast
    positions: int | None  # see `positions_of`


def described(key: str, model: str) -> dict[str, str | bool | None]:
    """Return a model's architecture, whether it has routers, and on the hub its commit; its tokenizer is loaded too.

    Models that the workflow makes are not there yet.

    Raises:
        UserError: the model is not there, has no safetensors, no fast tokenizer, or no embedding for some tokens.
    """
    if model in (EMBEDDED, SMOLLM2):
        routers = model == EMBEDDED and key == "selector.model"
        return {"model": model, "architecture": None, "routers": routers, "commit": None}
    config, _ = _read(key, model)
    found = {"architecture": config.model_type, "routers": has_routers(config), "commit": commit_of(model)}
    return {"model": model} | found


def described_reward(model: str) -> dict[str, str | int | None]:
    """Return the same of a sequence classifier, with its number of labels.

    Raises:
        UserError: it is not there, is of another kind, or cannot be used as `described` says.
    """
    key = "reward.model"
    config = load_config(model, key)
    require_classifier(config, model)
    require_safetensors(model)
    require_embeddings(load_tokenizer(model, classifies=True), config.get_text_config().vocab_size)
    found = {"model": model, "architecture": config.model_type, "labels": config.num_labels}
    return found | {"commit": commit_of(model)}


def require_routers(model: str, has_routers: bool, upcycled: bool, routed: Sequence[str]) -> None:
    """Refuse a selector without routers where methods need them, and one with routers that is to be upcycled.

    Args:
        model: as the configuration names it.
        has_routers: whether it has some as it is.
        upcycled: whether it is to be converted into a Mixture of Experts.
        routed: what needs routers.

    Raises:
        UserError: names the key and what to do.
    """
    if has_routers and upcycled:
        raise UserError(f"selector.upcycle: {model} has routers already; set it to null")
    if routed and not (has_routers or upcycled):
        raise UserError(no_routers(model, routed))


def outline(config: Config, role: str, model: str, tokenizer: str | None) -> Outline:
    """Return the outline of the selector, upcycled if the configuration says so, or of the target.

    Args:
        config: the configuration.
        role: `selector` or `target`.
        model: where it is: a directory or a name on the hub.
        tokenizer: directory of the tokenizer of embedded models.

    Raises:
        UserError: the model cannot be used, as `described` says, or cannot be upcycled.
    """
    if getattr(config, role).model == EMBEDDED:
        words = load_tokenizer(str(tokenizer))
        shape = embedded.moe_config(words) if role == "selector" else embedded.dense_config(words)
        dtype = torch.float32
    else:
        shape, words = _read(f"{role}.model", model)
        dtype = cast(torch.dtype | None, shape.get_text_config().dtype)
    if (asked := getattr(config, role).dtype) is not None:
        dtype = getattr(torch, asked)
    upcycle = config.selector.upcycle
    if role == "selector" and upcycle is not None:
        shape = upcycled_config(shape, upcycle.experts, upcycle.experts_per_token)
    empty = _empty(shape, dtype or torch.float32)  # weights without a dtype are float32
    return Outline(empty, shape_of(empty), words, positions_of(empty))


def require_tuning(model: str, train: Train) -> None:
    """Check that a target can be tuned as it is to be, which is looked at as `described` does.

    Raises:
        UserError: LoRA does not fit it, as `lora_weights` says, or not all of its weights can be trained.
    """
    config = MADE_HERE.get(model) or load_config(model, "target.model")
    if train.method == "full":
        require_tunable(config)
    else:
        lora_weights(_empty(config, torch.float32), train.lora_targets, train.lora_dropout)


def _empty(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    with torch.device("meta"):  # no memory is taken
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def _read(key: str, model: str) -> tuple[PreTrainedConfig, PreTrainedTokenizerFast]:
    config = load_config(model, key)
    require_safetensors(model)
    if (quantized := getattr(config, "quantization_config", None)) is not None:
        with contextlib.suppress(ValueError, RuntimeError):  # of an unknown kind, or for a GPU that is elsewhere
            try:
                AutoHfQuantizer.from_config(quantized, pre_quantized=True).validate_environment(device_map=None)
            except ImportError as error:
                raise UserError(f"{key}: {model} is quantized, and cannot be loaded: {error}") from error
    has_routers(config)  # refuses what transformers has no causal language model for
    require_causal(config, model)
    tokenizer = load_tokenizer(model)
    require_embeddings(tokenizer, config.get_text_config().vocab_size)
    return config, tokenizer
