"""Loading language models, from a directory or the hub."""

import os
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging

from moesift.errors import UserError
from moesift.gpus import GIVEN
from moesift.models.chat import with_template
from moesift.models.experts import suit_device

logging.set_verbosity_error()
logging.disable_progress_bar()

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# For the tests with a Slurm, whose GPUs are no devices, and for nothing else: set, a job of GPUs computes on the CPU.
FAKE_GPUS = "MOESIFT_FAKE_GPUS"
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}


def device() -> torch.device:
    """Return the accelerator that torch sees, else the CPU, which a job of GPUs never gets.

    Raises:
        UserError: as `require_gpus`.
    """
    require_gpus(gpus_given())
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def gpus_given() -> int:
    """Return how many GPUs this job has asked for and been given; 0 where it computes on the CPU."""
    return 0 if FAKE_GPUS in os.environ else int(os.environ.get(GIVEN, "0"))


def require_gpus(asked: int) -> None:
    """Refuse a torch that can compute on fewer GPUs than a job has asked for and been given.

    Raises:
        UserError: it can; the message says how many, and where to look.
    """
    usable = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    if usable >= asked:
        return
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else torch.version.hip and f"ROCm {torch.version.hip}"
    look = (
        f"torch {torch.__version__} is built for {built}: see by `nvidia-smi` whether the driver is as new and the "
        "GPUs answer"
        if built
        else f"torch {torch.__version__} is built for the CPU alone: install one that is built for these GPUs"
    )
    raise UserError(
        f"the job asks for GPUs: {asked}; of those that it was given, torch can compute on: {usable}; {look}; or give "
        "throughput.gpus, or the profile's `gpu`, a number that is there, and 0 to compute on the CPU"
    )


def load_config(model: str, key: str) -> PreTrainedConfig:
    """Load a model's configuration alone.

    Raises:
        UserError: names the configuration key, when the model is not there.
    """
    try:
        return AutoConfig.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # a config.json may be wrong in as many ways as there are classes that read it
        is_here = os.path.isdir(model)
        wrong = "cannot be read" if is_here else "is neither a model directory here nor to be had from the hub"
        raise UserError(f"{key}: {model} {wrong}: {_reason(error)}") from error


def require_safetensors(model: str) -> None:
    """Refuse a model directory without safetensors, or with one that ends early, which its header tells.

    What is on the hub shows when it is loaded.

    Raises:
        UserError: names the directory, and the pickles that it has instead; or the file.
    """
    folder = Path(model)
    if not folder.is_dir():
        return
    if not any((folder / name).is_file() for name in WEIGHTS):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        instead = f"; convert {', '.join(pickles)} to safetensors: to read a pickle may run code" if pickles else ""
        raise UserError(f"{model}: has neither {' nor '.join(WEIGHTS)}, and no other weights are read{instead}")
    require_complete(folder)


def require_complete(folder: Path) -> None:
    """Refuse a folder with a file of safetensors that ends early.

    Raises:
        UserError: names the file.
    """
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{file}: cannot be read as safetensors: {error}; if the workflow made {folder}, remove that folder, "
                "and the same command makes it again"
            ) from None


def load_tokenizer(model: str) -> PreTrainedTokenizerFast:
    """Load a tokenizer that has a chat template and a padding token.

    Raises:
        UserError: names the model, when its tokenizer is not there or cannot be used.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # the library below raises bare Exceptions
        raise UserError(f"{model}: its tokenizer cannot be loaded: {_reason(error)}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{model}: needs a fast tokenizer (tokenizer.json), which tells where each token stands")
    if len(tokenizer.get_vocab()) <= len(tokenizer.added_tokens_decoder):  # what transformers makes of a missing file
        raise UserError(f"{model}: its tokenizer has no vocabulary; is tokenizer.json there?")
    return with_template(tokenizer)


def load_model(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load a causal language model, in the dtype it was saved in, onto `device`, and its tokenizer.

    Only safetensors are read, and no code of the model's repository is run.

    Raises:
        UserError: names the model, when it is not there, cannot be read, or lacks weights.
    """
    require_safetensors(model)
    tokenizer = load_tokenizer(model)
    try:
        loaded, found = cast(
            tuple[PreTrainedModel, dict[str, set[str]]],
            AutoModelForCausalLM.from_pretrained(
                model, dtype="auto", use_safetensors=True, trust_remote_code=False, output_loading_info=True
            ),
        )
    except Exception as error:  # the weights may fit neither the configuration nor the memory
        raise UserError(f"{model}: cannot be loaded as a causal language model: {_reason(error)}") from error
    if missing := sorted(found["missing_keys"]):  # transformers would draw them at random
        raise UserError(
            f"{model}: its files lack {len(missing)} of the weights of its config.json, such as {missing[0]}"
        )
    loaded = loaded.to(device()).eval()
    suit_device(loaded)
    return loaded, tokenizer


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Have the backward pass compute each layer's inside again from the layer's input, which alone is kept.

    transformers does so in train mode only, which would also draw dropout and noise; so the mode of the layers
    themselves is set, and that of what is in them is left alone.
    """
    model.gradient_checkpointing_enable({"use_reentrant": False})  # the other way drops the gradients of router logits
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


def _reason(error: Exception) -> str:
    """Return what a loader of transformers says, which would have one run the code of a model's repository."""
    if "trust_remote_code" in str(error):
        return "it is a model by code of its own, and moesift runs none but that of transformers"
    return " ".join(str(error).split()) or type(error).__name__
