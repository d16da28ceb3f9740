"""A warm-up or a training that is killed, at whatever moment, and started again ends in the same weights, bitwise."""

import json
import os
import signal
import subprocess
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

from moesift.demo.embedded import dense_config
from moesift.models import checkpoints

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

# Runs a stage and kills its process, as `kill -9` does, when a state of some step is about to get its name, or has it.
DYING = """
import os, pathlib, signal, sys
from moesift.stages import {stage}
rename = pathlib.Path.rename
def dying(self, target):
    die = target.name == "step-{step}"
    if die and "{moment}" == "before": os.kill(os.getpid(), signal.SIGKILL)
    rename(self, target)
    if die: os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.rename = dying
sys.argv[0] = "{stage}"
{stage}.main()
"""
TRAIN = {
    "--learning-rate": 0.01,
    "--batch-size": 4,
    "--micro-batch": 2,
    "--recompute": 0,
    "--max-length": 64,
    "--seed": 0,
    "--threads": 1,
}
WARMUP = {
    **TRAIN,
    "--epoch": 1,
    "--accelerate": "config/accelerate/single.yaml",
    "--objective": "budget",
    "--examples": "null",
    "--balance": 0.01,
    "--trash-share": 0.3,
    "--dual-rate": 0.05,
    "--damping": 2.0,
    "--margin": 1.0,
    "--negatives": "[swapped_response]",
}
ADAPTER = {
    **TRAIN,
    "--accelerate": "config/accelerate/single.yaml",
    "--epochs": 2,
    "--warmup-ratio": 0.1,
    "--lora-rank": 4,
    "--lora-alpha": 8,
    "--lora-dropout": 0.2,
    "--lora-targets": "[q_proj, down_proj]",
}


@pytest.fixture(scope="module")
def given(tmp_path_factory, tokenizer):
    """A folder with a pool of 24 examples, a target, and the untrained epoch of a selector."""
    folder = tmp_path_factory.mktemp("given")
    answers = ["iron", "the cat", "a mat on the mat", "no", "which is a metal?", "sat on the cat"]
    messages = [
        [{"role": "user", "content": f"which {n * 'the '}?"}, {"role": "assistant", "content": answers[n % 6]}]
        for n in range(24)
    ]
    frame = {"id": [f"{n:02}" for n in range(24)], "source": "s", "messages": messages, "finished": True}
    pool = pl.DataFrame(frame).with_columns(choices=pl.lit(None, pl.List(pl.String)))
    pool.write_parquet(folder / "pool.parquet")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(dense_config(tokenizer), dtype=torch.float32).save_pretrained(folder / "target")
    tokenizer.save_pretrained(folder / "target")
    return folder


@pytest.fixture
def stages(given, selector):
    """What each stage is run with: its flags, and the file with what it has trained."""
    if not (given / "epoch-0").exists():
        checkpoints.save(selector, given / "epoch-0", None, {})
    return {
        "warmup_epoch": (
            WARMUP | {"--previous": given / "epoch-0", "--pool": given / "pool.parquet"},
            ("trash_experts.safetensors", "routers.safetensors", "optimizer.safetensors"),
        ),
        "train_adapter": (
            ADAPTER | {"--model": given / "target", "--selection": given / "pool.parquet"},
            ("adapter_model.safetensors",),
        ),
    }


def words(flags, out, **more) -> list[str]:
    own = {"--out": out, "--state": f"{out}.state", "--save-every": 0} | more
    own |= {"--log": f"{out}.jsonl"} if "--previous" in flags else {}
    return [str(word) for pair in (flags | own).items() for word in pair]


def started(command) -> subprocess.Popen:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def done(command) -> str:
    process = started(command)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


def losses_of(out) -> list[float]:
    """Return the loss of each step, as the stage has kept it."""
    if (out / "training.json").exists():
        return json.loads((out / "training.json").read_text())["nll_per_step"]
    return [json.loads(line)["nats"] for line in Path(f"{out}.jsonl").read_text().splitlines()]


def same(one, other, files) -> bool:
    frames = [(load_file(one / file), load_file(other / file)) for file in files]
    return all(
        found.keys() == again.keys() and all(torch.equal(found[name], again[name]) for name in found)
        for found, again in frames
    )


@pytest.mark.parametrize("stage", ["warmup_epoch", "train_adapter"])
def test_what_was_killed_goes_on_to_the_same_weights(python, stage, stages, tmp_path):
    flags, files = stages[stage]
    run = [python, "-m", f"moesift.stages.{stage}"]
    assert "goes on" not in done([*run, *words(flags, tmp_path / "undisturbed")])
    killed, live = tmp_path / "killed", {"--live": tmp_path / "live"}
    for step, moment in ((1, "before"), (2, "after"), (5, "before"), (6, "after")):
        dying = started(
            [python, "-c", DYING.format(stage=stage, step=step, moment=moment), *words(flags, killed, **live)]
        )
        _, errors = dying.communicate()
        assert dying.returncode == -signal.SIGKILL, errors[-3000:]
        assert not killed.exists()
    newest = tmp_path / "killed.state" / "step-6" / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])  # and the last state of all is damaged: the one before serves
    assert "goes on after 5 of " in done([*run, *words(flags, killed, **live)])
    # What a job that was killed had not yet written is not in its curve; all else is there once, at its own step.
    shown = EventAccumulator(str(live["--live"])).Reload()
    steps = [point.step for point in shown.Scalars("tokens per second")]
    assert steps == sorted(set(steps))
    losses = dict(enumerate(losses_of(killed)))
    assert max(losses) == steps[-1]
    assert {5, max(losses)} <= set(steps)
    curve = {"warmup_epoch": "loss/nats", "train_adapter": "nats per token"}[stage]
    assert [point.value for point in shown.Scalars(curve)] == pytest.approx([losses[step] for step in steps])
    assert same(tmp_path / "undisturbed", killed, files)
    assert not (tmp_path / "killed.state").exists()
    if stage == "warmup_epoch":
        curves = [Path(f"{tmp_path}/{name}.jsonl").read_text() for name in ("undisturbed", "killed")]
        assert curves[0] == curves[1]
    assert losses_of(tmp_path / "undisturbed") == losses_of(killed)


def test_a_state_of_other_settings_is_left_alone(python, stages, tmp_path):
    flags, files = stages["warmup_epoch"]
    run = [python, "-m", "moesift.stages.warmup_epoch"]
    dying = started(
        [
            python,
            "-c",
            DYING.format(stage="warmup_epoch", step=3, moment="after"),
            *words(flags, tmp_path / "out"),
        ]
    )
    dying.communicate()
    assert (tmp_path / "out.state" / "step-3").is_dir()
    other = flags | {"--learning-rate": 0.02}
    assert "goes on" not in done([*run, *words(other, tmp_path / "out")])
    done([*run, *words(other, tmp_path / "fresh")])
    assert same(tmp_path / "out", tmp_path / "fresh", files)


def test_two_processes_are_the_same_warm_up_and_go_on_as_well(python, stages, tmp_path):
    flags, _ = stages["warmup_epoch"]
    two = tmp_path / "ddp.yaml"
    two.write_text((ROOT / "config/accelerate/ddp.yaml").read_text() + "use_cpu: true\n")
    launch = [python, "-m", "accelerate.commands.launch", "--config_file"]
    stage = ["--num_cpu_threads_per_process", "1", "-m", "moesift.stages.warmup_epoch"]
    done([*launch, "config/accelerate/single.yaml", *stage, *words(flags, tmp_path / "one")])
    own = words(flags | {"--accelerate": two}, tmp_path / "two")
    (tmp_path / "dying.py").write_text(DYING.format(stage="warmup_epoch", step=3, moment="after"))
    dying = started([*launch, str(two), *stage[:2], str(tmp_path / "dying.py"), *own])
    dying.communicate()
    assert dying.returncode != 0
    assert not (tmp_path / "two").exists()
    assert "goes on after 3 of 6 steps" in done([*launch, str(two), *stage, *own])
    one, again = (
        [json.loads(line) for line in Path(f"{tmp_path}/{n}.jsonl").read_text().splitlines()] for n in ("one", "two")
    )
    assert len(one) == len(again) == 6
    for own, other in zip(one, again, strict=True):
        assert own["nats"] == pytest.approx(other["nats"], abs=1e-4)
        assert own["trash_shares"] == pytest.approx(other["trash_shares"], abs=1e-4)
    weights = [load_file(tmp_path / name / "trash_experts.safetensors") for name in ("one", "two")]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])


def test_a_warm_up_on_gpus_that_torch_cannot_use_stops(python, stages, tmp_path, monkeypatch):
    flags, _ = stages["warmup_epoch"]
    launch = [python, "-m", "moesift.launch", "--nodes", "1", "--gpus", "1", "--threads", "1"]
    launch += ["--config", WARMUP["--accelerate"], "moesift.stages.warmup_epoch"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "99"}  # a number that no machine has
    ended = subprocess.run(
        [*launch, *words(flags, tmp_path / "out")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert (
        "moesift: error: the job asks for GPUs: 1; of those that it was given, torch can compute on: 0" in ended.stderr
    )


def test_a_warm_up_that_spreads_the_selector_is_refused(python, stages, tmp_path):
    flags, _ = stages["warmup_epoch"]
    process = started(
        [
            *(python, "-m", "moesift.stages.warmup_epoch"),
            *words(flags | {"--accelerate": "config/accelerate/zero2_cpu.yaml"}, tmp_path / "out"),
        ]
    )
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "moesift: error: config/accelerate/zero2_cpu.yaml: distributed_type is DEEPSPEED, but the warm-up" in errors
