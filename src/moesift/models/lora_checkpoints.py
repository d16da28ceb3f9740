"""Checkpoints of LoRA matrices with the moments that Adam had of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.adapters import load_adapter

MOMENTS = "moments.safetensors"
SETTINGS = "checkpoint.json"


class Checkpoint(NamedTuple):
    """What is known of LoRA matrices after an epoch, beside their values."""

    moments: dict[str, tuple[Tensor, Tensor]]  # Adam's means of each one's gradients and of their squares, float32
    learning_rate: float  # mean over the epoch


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
    load_adapter(model, folder)  # changes the model itself
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        tensors = load_file(folder / MOMENTS, device=str(model.device))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a complete LoRA checkpoint of this model: {error}") from error
    moments = {
        name.removeprefix("exp_avg/base_model.model."): (first, tensors[name.replace("exp_avg", "exp_avg_sq", 1)])
        for name, first in tensors.items()
        if name.startswith("exp_avg/")
    }
    return Checkpoint(moments, settings["learning_rate"])
