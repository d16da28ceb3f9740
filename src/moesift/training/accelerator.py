"""A process that accelerate started, and whether it is what was asked for."""

import os
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import KwargsHandler

from moesift.errors import UserError
from moesift.models.loading import device, gpus_given

REPLICATED = ("NO", "MULTI_GPU", "MULTI_CPU")  # distributed types that leave a model whole
SAME = {"MULTI_CPU": "MULTI_GPU"}  # data parallelism, on whichever hardware


def launched(accelerate_file: Path, micro_batch: int, replicated: bool = False) -> Accelerator:
    """Return the accelerator of a process that `accelerate launch --config_file` started.

    accelerate falls back to one process in silence, so what came is compared with what the file asks for. Where the
    file names no `mixed_precision`, it is bf16 on hardware that computes in it.

    Args:
        accelerate_file: what the process was started with.
        micro_batch: examples in one pass.
        replicated: whether every process must hold the whole model, as plain data parallelism does.

    Raises:
        UserError: the launch has not the processes or the kind of distribution of the file, or not a replicated one, or
            has GPUs that torch cannot compute on.
    """
    on_cpu = device().type == "cpu" or os.environ.get("ACCELERATE_USE_CPU") == "true"
    wanted = yaml.safe_load(accelerate_file.read_text())
    if replicated and wanted["distributed_type"] not in REPLICATED:
        raise UserError(
            f"{accelerate_file}: distributed_type is {wanted['distributed_type']}, but the warm-up trains the routers "
            f"alone and holds the selector whole in each process: take one of {', '.join(REPLICATED)}, as in "
            "config/accelerate/ddp.yaml"
        )
    if on_cpu and (gpus := gpus_given()):
        raise UserError(
            f"{accelerate_file}: use_cpu is true, but the job asks for GPUs: {gpus}; leave use_cpu out, or ask for "
            "none (throughput.gpus, or the profile's `gpu`, 0)"
        )
    if on_cpu and wanted["distributed_type"] == "FSDP":
        raise UserError(
            f"{accelerate_file}: distributed_type is FSDP, which accelerate spreads over GPUs alone: on CPUs each "
            "process would train a copy of its own; ask for GPUs (throughput.gpus, or the profile's `gpu`), or take "
            "config/accelerate/zero2_cpu.yaml"
        )
    if "mixed_precision" in wanted:
        precision = wanted["mixed_precision"]
    else:
        precision = "bf16" if not on_cpu and torch.cuda.is_bf16_supported() else "no"
    # On CPUs accelerate joins several processes only if it is told so: data parallelism by `cpu`, DeepSpeed by a
    # backend. Otherwise each is one alone, or they are several whose sums add nothing up.
    several = on_cpu and "WORLD_SIZE" in os.environ
    spread = wanted["distributed_type"] not in REPLICATED
    handlers: list[KwargsHandler] = [InitProcessGroupKwargs(backend="gloo")] if several and spread else []
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=handlers, cpu=several and not spread)
    got = kind(accelerator)
    for key, asked, found in (
        ("num_processes", wanted["num_processes"], accelerator.num_processes),
        ("distributed_type", SAME.get(wanted["distributed_type"], wanted["distributed_type"]), got),
    ):
        if asked != found:
            raise UserError(
                f"{accelerate_file}: {key} is {wanted[key]}, but there are {accelerator.num_processes} processes of "
                f"type {got}: start the stage by `accelerate launch --config_file`"
            )
    if accelerator.state.deepspeed_plugin is not None:
        # DeepSpeed takes this size from a data loader, and moesift forms its batches without one.
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = micro_batch
    return accelerator


def kind(accelerator: Accelerator) -> str:
    """Return the kind of distribution in the words of an accelerate file; every kind of plain data parallelism is one.

    What accelerate did is asked, not what it was told: on one process it forgets what its plugins were asked for.
    """
    if accelerator.state.deepspeed_plugin is not None:
        return "DEEPSPEED"
    if getattr(accelerator.state, "fsdp_plugin", None) is not None:
        return "FSDP"
    return "MULTI_GPU" if accelerator.distributed_type.value.startswith("MULTI_") else "NO"
