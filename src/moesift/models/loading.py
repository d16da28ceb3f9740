"""Loading language models, from a directory or the hub."""

import json
import os
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import logging
from transformers.utils.peft_utils import find_adapter_config_file

from moesift.errors import UserError
from moesift.gpus import GIVEN
from moesift.models.chat import require_embeddings, with_template
from moesift.models.experts import suit_device

logging.set_verbosity_error()
logging.disable_progress_bar()

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
# For tests with a Slurm whose GPUs are not real: where it is set, a job with GPUs computes on the CPU.
FAKE_GPUS = "MOESIFT_FAKE_GPUS"
CLASSIFIER = "ForSequenceClassification"
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}


def device() -> torch.device:
    """Return the accelerator that torch can use, else the CPU.

    Raises:
        UserError: the job has GPUs and torch cannot use them, as in `require_gpus`.
    """
    require_gpus(gpus_given())
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def gpus_given() -> int:
    """Return the number of GPUs that this job was given; 0 if it computes on the CPU."""
    return 0 if FAKE_GPUS in os.environ else int(os.environ.get(GIVEN, "0"))


def require_gpus(asked: int) -> None:
    """Check that torch can compute on as many GPUs as the job was given.

    Raises:
        UserError: it cannot; the message gives both numbers and the probable cause.
    """
    usable = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    if usable >= asked:
        return
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else torch.version.hip and f"ROCm {torch.version.hip}"
    advice = (
        f"torch {torch.__version__} is built for {built}: check with `nvidia-smi` that the driver is recent enough and "
        "the GPUs respond"
        if built
        else f"torch {torch.__version__} is built for CPUs only: install one that is built for these GPUs"
    )
    raise UserError(
        f"the job asks for GPUs: {asked}; of those that it was given, torch can compute on: {usable}; {advice}; or set "
        "throughput.gpus, or the profile's `gpu`, to a number that is available, or to 0 to compute on the CPU"
    )


def located(model: str) -> tuple[str, str]:
    """Return a model's directory, or its name on the hub, and the revision: what follows an @, else the newest."""
    name, _, revision = (model, "", "") if os.path.isdir(model) else model.partition("@")
    return name, revision or "main"


def commit_of(model: str) -> str | None:
    """Return the commit of the hub at which `load_config` has read a model; None of a directory."""
    name, revision = located(model)
    file = None if os.path.isdir(model) else try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(file).parent.name if isinstance(file, str) else None  # .../snapshots/{commit}/config.json


def load_config(model: str, key: str) -> PreTrainedConfig:
    """Load a model's configuration without the model.

    Raises:
        UserError: there is no such model; the message names `key`, the key that gives it in moesift's configuration.
    """
    name, revision = located(model)
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except Exception as error:  # the classes that read a config.json raise errors of many types
        is_directory = os.path.isdir(model)
        problem = "cannot be read" if is_directory else "is neither a local directory nor a model on the hub"
        raise UserError(f"{key}: {model} {problem}: {_reason(error)}") from error


def require_safetensors(model: str) -> None:
    """Refuse a model with an adapter beside it, and a directory whose safetensors are missing or truncated.

    Raises:
        UserError: names the directory and the pickles that it has instead, or the file.
    """
    name, revision = located(model)
    try:
        adapter = find_adapter_config_file(name, revision=revision)
    except OSError:  # no such model; its loader says so
        adapter = None
    if adapter is not None:
        raise UserError(
            f"{model}: has {Path(adapter).name}, and transformers would apply that adapter without a word; merge it "
            "into the weights, or remove it"
        )
    folder = Path(model)
    if not folder.is_dir():
        return
    if not any((folder / name).is_file() for name in WEIGHTS):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        advice = f"; convert {', '.join(pickles)} to safetensors: reading a pickle may run code" if pickles else ""
        raise UserError(f"{model}: has neither {' nor '.join(WEIGHTS)}, and no other weights are read{advice}")
    if not (folder / WEIGHTS[0]).is_file():
        index = folder / WEIGHTS[1]
        try:
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index}: is not an index of safetensors: {error!r}") from None
        if missing := [file for file in files if not (folder / file).is_file()]:
            raise UserError(f"{index}: names {len(missing)} files that are not there, such as {missing[0]}")
    require_complete(folder)


def require_complete(folder: Path) -> None:
    """Refuse a folder with a truncated safetensors file.

    Raises:
        UserError: names the file.
    """
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{file}: cannot be read as safetensors: {error}; if the workflow made {folder}, remove that folder "
                "and run the same command again"
            ) from None


def load_tokenizer(model: str, classifies: bool = False) -> PreTrainedTokenizerFast:
    """Load a tokenizer, and give it a chat template and a padding token if it has none.

    Of an encoder that classifies, the separator is the end of a text, where the tokenizer names no other.

    Raises:
        UserError: the tokenizer is missing or cannot be used; the message names the model.
    """
    name, revision = located(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
    except Exception as error:  # the library below raises bare Exceptions
        raise UserError(f"{model}: its tokenizer cannot be loaded: {_reason(error)}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(f"{model}: needs a fast tokenizer (tokenizer.json), which gives each token's place in the text")
    if len(tokenizer.get_vocab()) <= len(tokenizer.added_tokens_decoder):  # transformers' substitute for a missing file
        raise UserError(f"{model}: its tokenizer has no vocabulary; is tokenizer.json there?")
    if classifies and tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.sep_token
    return with_template(tokenizer)


def load_model(model: str, dtype: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load a causal language model onto `device`, with its tokenizer.

    Only safetensors are read, and no code from the model's repository is run.

    Args:
        model: a directory or a name on the hub.
        dtype: name of a dtype of torch; unless given, that of the files.

    Raises:
        UserError: the model is missing, unreadable, lacks weights or is not causal; the message names it.
    """
    require_safetensors(model)
    tokenizer = load_tokenizer(model)
    loaded, tokenizer = _loaded(model, tokenizer, AutoModelForCausalLM, "a causal language model", dtype or "auto")
    require_causal(loaded.config, model)
    return loaded, tokenizer


def require_causal(config: PreTrainedConfig, model: str) -> None:
    """Refuse a model whose tokens see what follows them, which transformers loads as a causal one with a warning.

    Raises:
        UserError: names what says so.
    """
    of_text = config.get_text_config()
    sees_ahead = {
        f"an encoder ({config.model_type})": type(config) in AutoModelForMaskedLM._model_mapping
        and not getattr(config, "is_decoder", False),
        "one with is_causal: false": not getattr(of_text, "is_causal", True),
        "one with use_bidirectional_attention": getattr(of_text, "use_bidirectional_attention", None) in (True, "all"),
    }
    if found := [what for what, is_so in sees_ahead.items() if is_so]:
        raise UserError(
            f"{model}: is {found[0]}: its tokens see what follows them, so what it predicts is no likelihood; use a "
            "causal language model"
        )


def load_classifier(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load a sequence classifier, such as a reward model, as `load_model` does.

    Raises:
        UserError: likewise, or it is of another kind.
    """
    require_classifier(load_config(model, "reward.model"), model)
    require_safetensors(model)
    tokenizer = load_tokenizer(model, classifies=True)
    loaded, tokenizer = _loaded(model, tokenizer, AutoModelForSequenceClassification, "a sequence classifier")
    loaded.config.get_text_config().use_cache = False
    return loaded, tokenizer


def require_classifier(config: PreTrainedConfig, model: str) -> None:
    """Refuse a model of another kind, to which transformers would give a head with random weights.

    Raises:
        UserError: names what it is instead.
    """
    names = config.architectures or []
    if not any(name.endswith(CLASSIFIER) for name in names):
        raise UserError(
            f"reward.model: {model} is {', '.join(names) or 'of an unknown kind'}, and should be a reward model or a "
            f"classifier of transformers, whose `architectures` in config.json end in {CLASSIFIER}"
        )


def _loaded(
    model: str, tokenizer: PreTrainedTokenizerFast, auto: Any, kind: str, dtype: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Load the weights of a model by an auto class of transformers, for `kind` in the message of an error."""
    name, revision = located(model)
    try:
        loaded, report = cast(
            tuple[PreTrainedModel, dict[str, set[str]]],
            auto.from_pretrained(
                name,
                revision=revision,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            ),
        )
    except Exception as error:  # the weights may fit neither the configuration nor the memory
        raise UserError(f"{model}: cannot be loaded as {kind}: {_reason(error)}") from error
    if missing := sorted(report["missing_keys"]):  # transformers would initialise them at random
        raise UserError(f"{model}: its files lack {len(missing)} of its weights, such as {missing[0]}")
    if unused := sorted(report["unexpected_keys"]):
        print(
            f"{model}: {len(unused)} weights of its files have no place in {kind}, such as {unused[0]}; see config.json"
        )
    embedding = next(loaded.get_input_embeddings().parameters())
    require_embeddings(tokenizer, getattr(embedding, "ds_shape", embedding.shape)[0])  # ZeRO-3 has spread it
    loaded = loaded.to(device()).eval()
    suit_device(loaded)
    return loaded, tokenizer


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Keep only each layer's input for the backward pass, which computes the rest of the layer again.

    transformers does this in train mode only, and train mode also turns on dropout and noise. So only the layers'
    own flag is set, not that of the modules in them.
    """
    model.activation_checkpointing_enable({"use_reentrant": False})  # reentrant loses the gradients of router logits
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


def _reason(error: Exception) -> str:
    """Return the message of a loader of transformers, without its advice to run the code of a model's repository."""
    if "trust_remote_code" in str(error):
        return "the model needs code from its own repository, and moesift runs only the code of transformers"
    return " ".join(str(error).split()) or type(error).__name__
