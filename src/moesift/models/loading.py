"""Loading language models, from a directory or the hub."""

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from moesift.errors import UserError
from moesift.models.chat import with_template
from moesift.models.routers import has_routers

logging.set_verbosity_error()
logging.disable_progress_bar()


def device() -> torch.device:
    """Return the accelerator that torch sees, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def load_config(model: str, key: str) -> PreTrainedConfig:
    """Load a model's configuration alone.

    Raises:
        UserError: names the configuration key, when the model is not there.
    """
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key}: {model} is neither a model directory here nor to be had from the hub: {error}"
        ) from error


def load_tokenizer(model: str) -> PreTrainedTokenizerFast:
    """Load a tokenizer that has a chat template and a padding token.

    Raises:
        UserError: names the model, when its tokenizer is not there or cannot be used.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(f"{model}: its tokenizer cannot be loaded: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{model}: needs a fast tokenizer (tokenizer.json), which tells where each token stands")
    return with_template(tokenizer)


def load_model(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load a causal language model, in the dtype it was saved in, onto `device`, and its tokenizer.

    Only safetensors are read, and no code of the model's repository is run.

    Raises:
        UserError: names the model, when it is not there or cannot be read.
    """
    tokenizer = load_tokenizer(model)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype="auto", use_safetensors=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{model}: cannot be loaded as a causal language model: {error}") from error
    loaded = loaded.to(device()).eval()
    # Grouped products of bfloat16 are slow on processors: with two experts 450 tokens a second against 630, on one core
    # of a Xeon. In float32, and on GPUs, transformers' own choice is the faster one.
    if loaded.device.type == "cpu" and loaded.dtype == torch.bfloat16 and has_routers(loaded.config):
        loaded.set_experts_implementation("eager")
    return loaded, tokenizer
