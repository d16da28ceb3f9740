"""The accelerator of a process that accelerate started, checked against the file that asked for it."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import KwargsHandler
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.loading import device, gpus_given
from moesift.models.routers import expert_blocks, has_routers
from moesift.training.accelerate_file import REPLICATED, require_usable


def launched(accelerate_file: Path, micro_batch: int, replicated: bool = False) -> Accelerator:
    """Return the accelerator of a process that `accelerate launch --config_file` started.

    accelerate silently falls back to one process, so the result is compared with the file. If the file sets no
    `mixed_precision`, it is bf16 on hardware that supports it.

    Args:
        accelerate_file: the configuration that the process was started with.
        micro_batch: examples in one pass.
        replicated: whether every process must hold the whole model, as in data parallelism.

    Raises:
        UserError: the file cannot be used, as `require_usable` says; the processes or the kind of distribution differ
            from it; or there are GPUs that torch cannot use.
    """
    on_cpu = device().type == "cpu" or os.environ.get("ACCELERATE_USE_CPU") == "true"
    asked = require_usable(accelerate_file, on_cpu, gpus_given(), replicated)
    precision = asked.get("mixed_precision") or ("bf16" if not on_cpu and torch.cuda.is_bf16_supported() else "no")
    # On CPUs accelerate joins several processes only when told to: data parallelism by `cpu`, DeepSpeed by a backend.
    # Otherwise each process would train alone, or their sums would add nothing up.
    several = on_cpu and "WORLD_SIZE" in os.environ
    sharded = asked["distributed_type"] not in REPLICATED
    handlers: list[KwargsHandler] = [InitProcessGroupKwargs(backend="gloo")] if several and sharded else []
    try:
        accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=handlers, cpu=several and not sharded)
    except (ValueError, ImportError, NotImplementedError) as error:
        raise UserError(f"{accelerate_file}: accelerate refuses it here: {' '.join(str(error).split())}") from error
    actual = kind(accelerator)
    expected = "MULTI_GPU" if asked["distributed_type"] == "MULTI_CPU" else asked["distributed_type"]
    if (asked["num_processes"], expected) != (accelerator.num_processes, actual):
        raise UserError(
            f"{accelerate_file}: num_processes is {asked['num_processes']}, of type {asked['distributed_type']}, "
            f"but there are {accelerator.num_processes} of type {actual}: start the stage by "
            "`accelerate launch --config_file`"
        )
    if accelerator.state.deepspeed_plugin is not None:
        # DeepSpeed reads this size from a data loader, and moesift has none.
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = micro_batch
    return accelerator


def keep_blocks_whole(accelerator: Accelerator, model: PreTrainedModel) -> None:
    """Have ZeRO-3 gather the weights of a block of experts at once, and not module by module.

    Which experts run, and how often a module in them is called, differs between the processes, which would wait for
    each other's weights in a different order. LoRA on experts reads their weights from outside their module as well.

    Args:
        model: before LoRA matrices are added to it.
    """
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None and has_routers(model.config):
        plugin.transformer_moe_cls_names = ",".join({type(block).__name__ for block in expert_blocks(model)})


def kind(accelerator: Accelerator) -> str:
    """Return the kind of distribution in the words of an accelerate file; data parallelism on CPUs is MULTI_GPU too.

    It is read from the plugins in use: with one process, `distributed_type` does not show what was asked for.
    """
    if accelerator.state.deepspeed_plugin is not None:
        return "DEEPSPEED"
    if getattr(accelerator.state, "fsdp_plugin", None) is not None:
        return "FSDP"
    return "MULTI_GPU" if accelerator.distributed_type.value.startswith("MULTI_") else "NO"
