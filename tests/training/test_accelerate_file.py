"""Which accelerate files are refused, and by which words: the file, the key, and what would be right."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig

from moesift.errors import UserError
from moesift.training.accelerate_file import held, read, require_usable

ROOT = Path(__file__).parents[2]
ONE = {"distributed_type": "NO", "num_processes": 1}
ZERO = {"distributed_type": "DEEPSPEED", "num_processes": 2, "deepspeed_config": {"deepspeed_config_file": "zero.json"}}
FSDP = {"distributed_type": "FSDP", "num_processes": 2}

REFUSED = {
    "nothing": ("", "has no keys with values; config/accelerate/single.yaml"),
    "a list": ("- 1\n", "has no keys with values"),
    "no YAML": ("a: [\n", "cannot be read: while parsing"),
    "a no without quotes": ("distributed_type: NO\n", 'distributed_type: is false; use one of NO, MULTI_GPU, .*"NO"'),
    "a precision without quotes": (ONE | {"mixed_precision": False}, 'mixed_precision: is false, .*write "no"'),
    "an unknown precision": (ONE | {"mixed_precision": "float16"}, 'mixed_precision: is "float16"; use one of no'),
    "a misspelt key": (ONE | {"num_process": 1}, "num_process: unknown key; did you mean num_processes?"),
    "no type": ({"num_processes": 1}, "distributed_type: is missing; use one of"),
    "an unknown type": (ONE | {"distributed_type": "DDP"}, 'distributed_type: is "DDP"; use one of'),
    "another place": (ONE | {"compute_environment": "AMAZON_SAGEMAKER"}, "compute_environment: .*LOCAL_MACHINE"),
    "processes in words": (ONE | {"num_processes": "one"}, 'num_processes: is "one", but should be a valid integer'),
    "no processes": ({"distributed_type": "MULTI_GPU"}, "num_processes: is missing with .* give 2 or more"),
    "a key that stands twice": ("num_processes: 1\nnum_processes: 2\n", "duplicate keys; keep one of line 1: num_pro"),
    "zero": (ONE | {"num_processes": 0}, "num_processes: 0 with .* give 1"),
    "a section that is a word": (ZERO | {"deepspeed_config": "zero.json"}, "deepspeed_config: is"),
    "a file that is a number": ({**ZERO, "deepspeed_config": {"deepspeed_config_file": 2}}, "_config_file: is 2,"),
    "too few": ({"distributed_type": "MULTI_GPU", "num_processes": 1}, "num_processes: 1 with .* give 2 or more"),
    "too many": (ONE | {"num_processes": 2}, "num_processes: 2 with .* give 1, or distributed_type MULTI_GPU"),
    "a CPU in words": (ONE | {"use_cpu": "maybe"}, 'use_cpu: is "maybe", but'),
    "several machines": (ONE | {"num_machines": 2}, "num_machines: leave it at 1"),
    "chosen GPUs": (ONE | {"gpu_ids": "0,1"}, "gpu_ids: leave it out"),
    "a compiler": (ONE | {"dynamo_config": {"dynamo_backend": "INDUCTOR"}}, "dynamo_config.dynamo_backend"),
    "another library": (ONE | {"fp8_config": {"backend": "TE"}}, "fp8_config: has no effect"),
    "a section of another type": (ONE | {"fsdp_config": {"fsdp_version": 2}}, "fsdp_config: has no effect with"),
    "a misspelt key of FSDP": (FSDP | {"fsdp_config": {"fsdp_verson": 2}}, "fsdp_config.fsdp_verson: unknown key"),
    "a stage in words": (
        {**ZERO, "deepspeed_config": {"zero_stage": "two"}},
        'deepspeed_config.zero_stage: is "two": invalid int value',
    ),
    "a misspelt stage": ({**ZERO, "deepspeed_config": {"zero_stag": 2}}, "zero_stag: unknown key; did you mean zero"),
    "steps that moesift divides": (
        {**ZERO, "deepspeed_config": {"gradient_accumulation_steps": 4}},
        "gradient_accumulation_steps: leave it out",
    ),
    "blocks of experts": (
        {**ZERO, "deepspeed_config": {"deepspeed_moe_layer_cls_names": "OlmoeSparseMoeBlock"}},
        "deepspeed_config.deepspeed_moe_layer_cls_names: leave it out",
    ),
    "a precision in two places": (ZERO | {"mixed_precision": "bf16"}, "mixed_precision: belongs into zero.json"),
}  # fmt: skip

OF_DEEPSPEED = {
    "nothing": ("", "zero.json: cannot be read"),
    "a misspelt key": ({"gradient_cliping": 1}, "zero.json: gradient_cliping: unknown key; did you mean gradient_cl"),
    "an optimizer": ({"optimizer": {"type": "Adam"}}, "zero.json: optimizer: moesift brings its own"),
    "batches": ({"train_batch_size": 16}, 'train_batch_size: write "auto"'),
    "no clipping": ({"gradient_clipping": None}, "gradient_clipping: give the largest norm"),
    "a precision in words": ({"bf16": {"enabled": "yes"}}, 'bf16.enabled: is "yes"; use one of true, false, auto'),
    "a precision without a section": ({"bf16": True}, "bf16: must be a section with keys"),
    "two precisions": ({"bf16": {"enabled": True}, "fp16": {"enabled": True}}, "bf16.enabled and fp16.enabled"),
    "two precisions as text": (
        {"bf16": {"enabled": "true"}, "fp16": {"enabled": "True"}},
        "bf16.enabled and fp16.enabled",
    ),
    "a scale in words": ({"fp16": {"loss_scale": "high"}}, 'fp16.loss_scale: "high" is refused: '),
    "clipping at no number": ({"gradient_clipping": float("nan")}, "gradient_clipping: give the largest norm"),
    "no section": ({"zero_optimization": None}, "zero_optimization: must be a section"),
    "a stage that there is not": ({"zero_optimization": {"stage": 9}}, "zero_optimization.stage: 9 is refused"),
    "a misspelt stage": ({"zero_optimization": {"stge": 2}}, "zero_optimization.stge: 2 is refused: Extra inputs"),
}  # fmt: skip


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write an accelerate file, and a DeepSpeed file where it says."""
    monkeypatch.chdir(tmp_path)

    def write(keys, **deepspeed) -> Path:
        file = tmp_path / "mine.yaml"
        file.write_text(keys if isinstance(keys, str) else yaml.safe_dump(keys))
        right = {"zero_optimization": {"stage": 2}, "gradient_clipping": 1.0}
        (tmp_path / "zero.json").write_text(json.dumps(right | deepspeed))
        return file

    return write


@pytest.mark.parametrize(("keys", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_named(written, keys, message):
    with pytest.raises(UserError, match=rf"mine\.yaml: (?s:.*{message})"):
        read(written(keys))


@pytest.mark.parametrize(("content", "message"), OF_DEEPSPEED.values(), ids=OF_DEEPSPEED)
def test_what_is_wrong_in_the_file_of_deepspeed_is_named(written, content, message):
    file = written(ZERO, **(content or {}))
    if not content:
        Path("zero.json").unlink()
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{message}"):
        read(file)


def test_a_file_without_processes_has_one(written):
    assert read(written({"distributed_type": "NO"}))["num_processes"] == 1


def test_what_moesift_brings_and_what_accelerate_writes_is_taken(written, monkeypatch):
    monkeypatch.chdir(ROOT)
    for file in Path("config/accelerate").glob("*.yaml"):
        assert read(file)["num_processes"] in (1, 2)
    monkeypatch.chdir(written(ZERO).parent)
    assert read(Path("mine.yaml"))
    ClusterConfig(**_as_asked(), num_processes=2, gpu_ids="all", main_process_port=29500).to_yaml_file("mine.yaml")
    text = Path("mine.yaml").read_text() + "tpu_env: []\n"
    Path("mine.yaml").write_text(text.replace("downcast_bf16: false", "downcast_bf16: 'no'"))
    assert read(Path("mine.yaml"))["mixed_precision"] == "bf16"


def _as_asked():
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "mixed_precision": "bf16",
        "use_cpu": False,
        "debug": False,
    }


@pytest.mark.parametrize(
    ("keys", "given", "message"),
    [
        (ONE | {"mixed_precision": "fp16"}, {"on_cpu": True, "gpus": 0}, "fp16 needs a GPU, and there is none"),
        (ONE | {"mixed_precision": "bf16"}, {"on_cpu": False, "gpus": 1}, "this GPU does not compute in bf16"),
        (ONE | {"use_cpu": True}, {"on_cpu": False, "gpus": 2}, "use_cpu is true, but the job asks for GPUs: 2"),
        (FSDP, {"on_cpu": True, "gpus": 0}, "distributed_type is FSDP, which accelerate supports only on GPUs"),
        (ZERO, {"on_cpu": True, "gpus": 0, "replicated": True}, "but the warm-up trains only the routers"),
        (ZERO, {"on_cpu": True, "gpus": 0}, "fp16 needs a GPU"),
    ],
)
@pytest.mark.parametrize("enabled", [True, "true"])  # DeepSpeed reads both alike
def test_what_is_not_there_is_found(written, monkeypatch, keys, given, message, enabled):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: not given["on_cpu"])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: False)
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{message}"):
        require_usable(written(keys, fp16={"enabled": enabled}), **given)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("single", (1.0, 16.0, True)),
        ("ddp", (1.0, 16.0, True)),
        ("zero1", (1.0, 4 + 12 / 2, False)),
        ("zero2", (1.0, 2 + 14 / 2, False)),
        ("zero3", (0.5, 8.0, False)),
        ("fsdp2", (0.5, 8.0, False)),
    ],
)
def test_what_one_process_holds(file, expected, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert held(Path(f"config/accelerate/{file}.yaml")) == expected
