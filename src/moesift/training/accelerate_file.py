"""What an accelerate file asks for, looked at before anything is spent: each key is used, or is refused by its name."""

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.commands.launch import launch_command_parser
from pydantic import TypeAdapter, ValidationError

from moesift.errors import UserError
from moesift.validation import repeated_keys

REPLICATED = ("NO", "MULTI_GPU", "MULTI_CPU")  # distributed types that keep the whole model in each process
TYPES = (*REPLICATED, "DEEPSPEED", "FSDP")
PRECISIONS = ("no", "bf16", "fp16")
QUOTES = '; YAML reads no and off without quotes as false: write "no"'
# Known to accelerate, and without an effect here, or one that moesift does not expect.
UNUSED = ("fp8_config", "megatron_lm_config", "parallelism_config", "mpirun_config", "tpu_name", "tpu_env", "commands")
# DeepSpeed's own file: what moesift leaves to DeepSpeed, and what it does itself, micro-batch by micro-batch.
DEEPSPEED = ("zero_optimization", "gradient_clipping", "bf16", "fp16", "communication_data_type", "aio", "comms_logger")
DEEPSPEED += ("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "prescale_gradients", "flops_profiler")
DEEPSPEED += ("gradient_predivide_factor", "steps_per_print", "wall_clock_breakdown", "memory_breakdown")
AUTOMATIC = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")


class Held(NamedTuple):
    """What one process of a training holds; one process holds all."""

    weights: float = 1.0  # share of the weights that are not trained
    parameter: float = 16.0  # bytes of each trained parameter: itself, its gradient, Adam's two moments
    resumes: bool = True  # from states on disk


WHOLE = Held()


def read(path: Path) -> dict[str, Any]:
    """Return the keys of an accelerate file, with `num_processes` in any case.

    Raises:
        UserError: names the file, the key, and what would be right.
    """
    asked = _mapping(path)
    try:
        _refuse_unknown(asked, ClusterConfig.__dataclass_fields__)
        for key, kind in get_type_hints(ClusterConfig).items():
            if key in asked and key not in ("distributed_type", "compute_environment"):
                _require_type(key, asked[key], kind)
        _require_one_of("compute_environment", asked.get("compute_environment", "LOCAL_MACHINE"), ["LOCAL_MACHINE"])
        _require_one_of("distributed_type", asked.get("distributed_type"), TYPES)
        kind = asked["distributed_type"]
        _require_one_of("mixed_precision", asked.get("mixed_precision") or "no", PRECISIONS)
        processes = asked.setdefault("num_processes", 1 if kind == "NO" else None)
        least = 2 if kind in ("MULTI_GPU", "MULTI_CPU") else 1
        if processes is None or processes < least or (kind == "NO" and processes > 1):
            right = "1, or distributed_type MULTI_GPU" if kind == "NO" else f"{least} or more"
            given = "is missing" if processes is None else processes
            raise UserError(f"num_processes: {given} with distributed_type {kind}; give {right}")
        if asked.get("num_machines", 1) != 1:
            raise UserError("num_machines: leave it at 1; how many nodes there are is the profile's `nodes`")
        if asked.get("gpu_ids", "all") != "all":
            raise UserError("gpu_ids: leave it out; moesift gives each job GPUs that no other job has")
        if unused := [key for key in UNUSED if asked.get(key)]:
            raise UserError(f"{unused[0]}: has no effect in moesift; remove it")
        if str((asked.get("dynamo_config") or {}).get("dynamo_backend", "NO")).upper() != "NO":
            raise UserError('dynamo_config.dynamo_backend: compiled models are not supported; write "NO"')
        for section, of in (("deepspeed_config", "DEEPSPEED"), ("fsdp_config", "FSDP")):
            if asked.get(section) and kind != of:
                raise UserError(f"{section}: has no effect with distributed_type {kind}; remove it, or use {of}")
            _refuse_section(section, asked.get(section) or {})
        if kind == "DEEPSPEED":
            _refuse_deepspeed(asked, asked.get("deepspeed_config") or {})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return asked


def require_usable(path: Path, on_cpu: bool, gpus: int, replicated: bool = False) -> dict[str, Any]:
    """Return the keys of an accelerate file that the hardware, and what is trained, can use.

    Args:
        path: the file.
        on_cpu: the training computes on the CPU, for want of GPUs or because the file says `use_cpu`.
        gpus: that the job asks for.
        replicated: every process must hold the whole model, as in data parallelism.

    Raises:
        UserError: as `read`, or the file asks for what is not there.
    """
    asked = read(path)
    kind, precision = asked["distributed_type"], asked.get("mixed_precision") or _deepspeed_precision(asked)
    if replicated and kind not in REPLICATED:
        raise UserError(
            f"{path}: distributed_type is {kind}, but the warm-up trains only the routers and keeps the whole selector "
            f"in each process: use one of {', '.join(REPLICATED)}, as in config/accelerate/ddp.yaml"
        )
    if (on_cpu or asked.get("use_cpu")) and gpus:
        raise UserError(
            f"{path}: use_cpu is true, but the job asks for GPUs: {gpus}; leave use_cpu out, or ask for none "
            "(throughput.gpus, or the profile's `gpu`, 0)"
        )
    if on_cpu and kind == "FSDP":
        raise UserError(
            f"{path}: distributed_type is FSDP, which accelerate supports only on GPUs: on CPUs each process would "
            "train a separate copy; ask for GPUs (throughput.gpus, or the profile's `gpu`), or use "
            "config/accelerate/zero2_cpu.yaml"
        )
    if on_cpu and precision == "fp16":
        raise UserError(f'{path}: mixed_precision: fp16 needs a GPU, and there is none; use "no" or bf16')
    if not on_cpu and precision == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(False):
        raise UserError(f'{path}: mixed_precision: this GPU does not compute in bf16; use "no" or fp16')
    return asked


def held(path: Path) -> Held:
    """Return what one process of a training holds, and whether the training can be resumed.

    The 16 bytes of a trained parameter are spread as arXiv 1910.02054 says: by ZeRO-1 the 12 of the optimizer and its
    copies, by ZeRO-2 also the gradient, by ZeRO-3 and FSDP2 all.

    Raises:
        UserError: as `read`.
    """
    asked = read(path)
    kind, processes, section = asked["distributed_type"], asked["num_processes"], asked.get("deepspeed_config") or {}
    stage = 3 if kind == "FSDP" else 0
    if kind == "DEEPSPEED":
        file = section.get("deepspeed_config_file")
        stage = _mapping(Path(file))["zero_optimization"].get("stage", 0) if file else section.get("zero_stage", 2)
    spread = (0, 12, 14, 16)[int(stage)]
    return Held(1 / processes if stage == 3 else 1.0, 16 - spread + spread / processes, kind in REPLICATED)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        if repeated := repeated_keys(text):
            raise UserError(f"{path}: duplicate keys; keep one of {', '.join(repeated)}")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise UserError(
            f"{path}: has no keys with values; config/accelerate/single.yaml has the fewest that are needed"
        )
    return dict(content)


def _refuse_unknown(given: Mapping[str, Any], known: Any, section: str = "") -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise UserError(f"{section}{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "; remove it"))


def _require_one_of(key: str, value: Any, allowed: Any) -> None:
    if value not in allowed or isinstance(value, bool):
        quotes = QUOTES.replace('no"', 'NO"') if value is False and key == "distributed_type" else ""
        shown = "is missing" if value is None else f"is {json.dumps(value, default=str)}"
        raise UserError(f"{key}: {shown}; use one of {', '.join(allowed)}{quotes}")


def _require_type(key: str, value: Any, kind: Any) -> None:
    try:  # accelerate itself writes downcast_bf16: 'no'
        TypeAdapter(kind).validate_python(value, strict=kind is not bool)
    except ValidationError as error:
        quotes = QUOTES if value is False else ""
        wanted = error.errors()[0]["msg"].removeprefix("Input ")
        raise UserError(f"{key}: is {json.dumps(value, default=str)}, but {wanted}{quotes}") from None


def _refuse_section(section: str, given: Mapping[str, Any]) -> None:
    """Refuse keys of a section, and values, that are not among the flags of `accelerate launch` which it stands for."""
    parser = launch_command_parser()
    prefix = "fsdp_" if section == "fsdp_config" else ""

    def refuse(message: str) -> None:
        raise UserError(message)

    parser.error = refuse  # argparse would end the process
    flags = {key if key.startswith(prefix) else prefix + key: value for key, value in given.items()}
    _refuse_unknown(flags, vars(parser.parse_args(["script"])), f"{section}.")
    for key, value in flags.items():
        if not isinstance(value, (str, int, float)) or (key.endswith("_file") and not isinstance(value, str)):
            raise UserError(f"{section}.{key}: is {json.dumps(value)}, but must be a word or a number")
        try:
            parser.parse_args([f"--{key}={str(value).lower() if isinstance(value, bool) else value}", "script"])
        except UserError as error:
            raise UserError(f"{section}.{key}: is {json.dumps(value)}: {str(error).partition(': ')[2]}") from None


def _refuse_deepspeed(asked: Mapping[str, Any], section: Mapping[str, Any]) -> None:
    """Refuse what DeepSpeed or accelerate would stop at, or pass over, once the model is loaded."""
    if section.get("gradient_accumulation_steps", 1) not in (1, "auto"):
        raise UserError(
            "deepspeed_config.gradient_accumulation_steps: leave it out: throughput.micro_batch divides steps"
        )
    if "deepspeed_moe_layer_cls_names" in section:
        raise UserError("deepspeed_config.deepspeed_moe_layer_cls_names: leave it out: moesift finds them")
    if (file := section.get("deepspeed_config_file")) is None:
        return
    twice = [key for key in section if key.startswith(("gradient_", "offload_", "zero_stage", "zero3_save"))]
    if twice := twice + ["mixed_precision"] * ("mixed_precision" in asked):
        raise UserError(f"{twice[0]}: belongs into {file}, which deepspeed_config.deepspeed_config_file names")
    content = _mapping(Path(file))
    try:
        if made := {"optimizer", "scheduler"} & set(content):
            raise UserError(f"{min(made)}: moesift brings its own (train.learning_rate, train.warmup_ratio); remove it")
        _refuse_unknown(content, (*DEEPSPEED, *AUTOMATIC))
        for key in AUTOMATIC:
            if content.get(key, "auto") not in ("auto", 1 if key.startswith("gradient") else "auto"):
                raise UserError(f'{key}: write "auto": train.batch_size and throughput.micro_batch set it')
        clipping = content.get("gradient_clipping")
        if clipping != "auto" and (
            not isinstance(clipping, (int, float)) or isinstance(clipping, bool) or not 0 < clipping < math.inf
        ):
            raise UserError("gradient_clipping: give the largest norm of a gradient, 1.0 as without DeepSpeed")
        for key in PRECISIONS[1:]:
            if not isinstance(content.get(key, {}), Mapping):
                raise UserError(f'{key}: must be a section with keys, such as {{"enabled": true}}')
            _require_one_of(f"{key}.enabled", _enabled(content, key), ("true", "false", "auto"))
        if all(_enabled(content, key) == "true" for key in PRECISIONS[1:]):
            raise UserError("bf16.enabled and fp16.enabled are both true; use one")
        _require_fields(content)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None


def _deepspeed_precision(asked: Mapping[str, Any]) -> str | None:
    file = (asked.get("deepspeed_config") or {}).get("deepspeed_config_file")
    content = _mapping(Path(file)) if file else {}
    return next((name for name in PRECISIONS[1:] if _enabled(content, name) == "true"), None)


def _enabled(content: Mapping[str, Any], precision: str) -> str:
    """Return what DeepSpeed's file says of a precision: true, false or auto, which may be text in it too."""
    return str(content.get(precision, {}).get("enabled", False)).lower()


def _require_fields(content: Mapping[str, Any]) -> None:
    """Refuse keys and values of the sections that DeepSpeed would refuse once the model is loaded."""
    try:
        from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
        from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
    except ImportError as error:
        raise UserError(f"DeepSpeed cannot be imported: {error}; pip install deepspeed") from None
    precisions = {"bf16": DeepSpeedBF16Config, "fp16": DeepSpeedFP16Config}
    sections = {name: content.get(name, {}) | {"enabled": _enabled(content, name) == "true"} for name in precisions}
    sections["zero_optimization"] = content.get("zero_optimization")
    for name, kind in (precisions | {"zero_optimization": DeepSpeedZeroConfig}).items():
        try:
            kind(**sections[name])
        except TypeError:
            raise UserError(f'{name}: must be a section with keys, such as {{"stage": 2}}') from None
        except ValidationError as error:
            detail = error.errors()[0]
            place = ".".join(map(str, (name, *detail["loc"])))
            raise UserError(
                f"{place}: {json.dumps(detail['input'], default=str)} is refused: {detail['msg']}"
            ) from None
