"""A process that accelerate started, and whether it is what was asked for."""

import os
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import KwargsHandler

from moesift.errors import UserError


def launched(accelerate_file: Path, micro_batch: int) -> Accelerator:
    """Return the accelerator of a process that `accelerate launch --config_file` started.

    accelerate falls back to one process in silence, so what came is compared with what the file asks for. Where the
    file names no `mixed_precision`, it is bf16 on hardware that computes in it.

    Raises:
        UserError: the launch has not the processes or the kind of distribution of the file.
    """
    on_cpu = not torch.accelerator.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "true"
    wanted = yaml.safe_load(accelerate_file.read_text())
    if "mixed_precision" in wanted:
        precision = wanted["mixed_precision"]
    else:
        precision = "bf16" if not on_cpu and torch.cuda.is_bf16_supported() else "no"
    # On a CPU accelerate leaves the backend unset under DeepSpeed, and then counts one process.
    several = "WORLD_SIZE" in os.environ
    handlers: list[KwargsHandler] = [InitProcessGroupKwargs(backend="gloo")] if on_cpu and several else []
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=handlers)
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
