"""LoRA matrices on a model: new ones, and those of a checkpoint with the moments that Adam had of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.loading import require_complete

MOMENTS = "moments.safetensors"
SETTINGS = "checkpoint.json"


class Checkpoint(NamedTuple):
    """What is known of LoRA matrices after an epoch, beside their values."""

    moments: dict[str, tuple[Tensor, Tensor]]  # Adam's means of each one's gradients and of their squares, float32
    learning_rate: float  # mean over the epoch


def add_lora(
    model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: list[str], section: str = "train"
) -> PeftModel:
    """Add LoRA matrices to the modules whose names end in one of `targets`.

    Raises:
        UserError: the model has no such module; the message names the `section` of the configuration.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none", task_type="CAUSAL_LM"
    )
    try:
        # peft keeps the matrices in float32 on a bf16 model too, where small updates would be lost to rounding.
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"{section}.lora_targets: {targets} do not fit {type(model).__name__}: {error}") from error


def save_checkpoint(model: PeftModel, tensors: Mapping[str, Tensor], settings: dict[str, Any], folder: Path) -> None:
    """Write the LoRA matrices as peft does, Adam's moments of them, and settings, `learning_rate` among them.

    Args:
        model: whose LoRA matrices.
        tensors: of `training.state.moments`, and maybe more.
        settings: JSON.
        folder: to write.
    """
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink()  # peft's empty template
    save_file(
        {name: value.contiguous() for name, value in tensors.items() if name.startswith("exp_avg")}, folder / MOMENTS
    )
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def load_checkpoint(model: PreTrainedModel, folder: Path) -> Checkpoint:
    """Attach the LoRA matrices that `save_checkpoint` wrote to the model that they were trained on.

    Raises:
        UserError: the folder is no such checkpoint, or one of its files is incomplete.
    """
    require_complete(folder)
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        tensors = load_file(folder / MOMENTS, device=str(model.device))
        PeftModel.from_pretrained(model, folder, torch_device=str(model.device)).eval()  # changes the model itself
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: not a complete LoRA checkpoint of this model: {error}") from error
    moments = {
        name.removeprefix("exp_avg/base_model.model."): (first, tensors[name.replace("exp_avg", "exp_avg_sq", 1)])
        for name, first in tensors.items()
        if name.startswith("exp_avg/")
    }
    return Checkpoint(moments, settings["learning_rate"])
