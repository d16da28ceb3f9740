"""What the training stages share: the learning rate, LoRA, and the launch by accelerate."""

import math
import os
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator, InitProcessGroupKwargs
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from moesift.errors import UserError

MAX_GRADIENT_NORM = 1.0  # the DeepSpeed files say the same


def rise_and_cosine(step: int, steps: int, rise: float) -> float:
    """Return the factor on the peak learning rate at a step: a linear rise, then half a cosine down to zero.

    Args:
        step: from 0.
        steps: of the whole training.
        rise: share of the steps in which it rises.
    """
    rising = max(1, math.ceil(rise * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def add_lora(model: PreTrainedModel, rank: int, alpha: float, dropout: float, targets: list[str]) -> PeftModel:
    """Add LoRA matrices to the modules whose names end as `targets` say.

    Raises:
        UserError: the model has no such module.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none", task_type="CAUSAL_LM"
    )
    try:
        # peft keeps the matrices in float32 also on a bf16 model, where small updates would round away.
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"train.lora_targets: {targets} do not fit {type(model).__name__}: {error}") from error


def launched(accelerate_file: Path, micro_batch: int) -> Accelerator:
    """Return the accelerator of a process that `accelerate launch --config_file` started.

    accelerate falls back to one process in silence, so what came is compared with what the file asks for.

    Raises:
        UserError: the launch has not the processes or the kind of distribution of the file.
    """
    on_cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "true"
    # On a CPU accelerate leaves the backend unset under DeepSpeed, and then counts one process.
    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if on_cpu else [])
    wanted = yaml.safe_load(accelerate_file.read_text())
    for key, asked, got in (
        ("num_processes", wanted["num_processes"], accelerator.num_processes),
        ("distributed_type", wanted["distributed_type"] == "DEEPSPEED", accelerator.state.deepspeed_plugin is not None),
    ):
        if asked != got:
            raise UserError(
                f"{accelerate_file}: {key} is {wanted[key]}, but there are {accelerator.num_processes} processes of "
                f"type {accelerator.distributed_type.value}: start the stage by `accelerate launch --config_file`"
            )
    if accelerator.state.deepspeed_plugin is not None:
        # DeepSpeed takes this size from a data loader, and moesift forms its batches without one.
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = micro_batch
    return accelerator
