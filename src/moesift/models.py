"""Loading language models, from a directory or the hub."""

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from moesift.chat import with_template
from moesift.errors import UserError

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def device() -> torch.device:
    """Return the accelerator that torch sees, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def load_tokenizer(model: str) -> PreTrainedTokenizerFast:
    """Load a tokenizer that has a chat template and a padding token.

    Raises:
        UserError: names the model, when its tokenizer is not there or cannot be used.
    """
    try:
        return with_template(AutoTokenizer.from_pretrained(model))
    except (OSError, ValueError) as error:
        raise UserError(f"{model}: its tokenizer cannot be loaded: {error}") from error


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
    return loaded.to(device()).eval(), tokenizer
