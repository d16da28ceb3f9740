"""A warm-up or a training that is killed at any moment, and started again, ends with the same weights, bit for bit."""

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
SINGLE = "config/accelerate/single.yaml"

pytestmark = pytest.mark.slow

# Runs a stage and kills its process, as `kill -9` does, right before or after a state gets its name.
DYING = """
import os, pathlib, signal, sys
from moesift import flags
from moesift.stages import {stage}
rename = pathlib.Path.rename
def dying(self, target):
    die = target.name == "step-{step}"
    if die and "{moment}" == "before": os.kill(os.getpid(), signal.SIGKILL)
    rename(self, target)
    if die: os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path.rename = dying
sys.argv[0] = "{stage}"
flags.run({stage}.main)
"""
WARMUP = {"objective": "budget", "balance": 0.01, "learning_rate": 0.01, "batch_size": 4, "trash_share": 0.3}
WARMUP |= {"dual_rate": 0.05, "damping": 2.0, "margin": 1.0, "negatives": ["swapped_response"]}
TRAIN = {"accelerate": SINGLE, "epochs": 2, "learning_rate": 0.01, "warmup_ratio": 0.1, "batch_size": 4}
LORA = {"method": "lora", "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.2, "lora_targets": ["q_proj", "down_proj"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory, tokenizer):
    """A folder with a pool of 24 examples, all of which the warm-up trains on, and a target."""
    folder = tmp_path_factory.mktemp("data")
    answers = ["iron", "the cat", "a mat on the mat", "no", "which is a metal?", "sat on the cat"]
    messages = [
        [{"role": "user", "content": f"which {n * 'the '}?"}, {"role": "assistant", "content": answers[n % 6]}]
        for n in range(24)
    ]
    frame = {"id": [f"{n:02}" for n in range(24)], "source": "s", "messages": messages, "finished": True}
    pool = pl.DataFrame(frame).with_columns(choices=pl.lit(None, pl.List(pl.String)))
    pool.write_parquet(folder / "pool.parquet")
    examples = pool.select("id", in_warmup=pl.lit(True), place=pl.int_range(24))
    examples.write_parquet(folder / "examples.parquet")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(dense_config(tokenizer), dtype=torch.float32).save_pretrained(folder / "target")
    tokenizer.save_pretrained(folder / "target")
    return folder


@pytest.fixture
def words(data, selector):
    """A function that returns the words of a stage's command line, with other settings and flags if given."""
    if not (data / "epoch-0").exists():
        checkpoints.save(selector, data / "epoch-0", None, {})

    def words_of(stage, out, accelerate=SINGLE, settings=(), **more) -> list[str]:
        flags = {"--out": out, "--state": f"{out}.state", "--save-every": 0, "--micro-batch": 2, "--max-length": 64}
        flags |= {"--seed": 0, "--threads": 1, **{f"--{name}": value for name, value in more.items()}}
        if stage == "warmup_epoch":
            flags |= {"--previous": data / "epoch-0", "--pool": data / "pool.parquet", "--log": f"{out}.jsonl"}
            flags |= {"--examples": data / "examples.parquet", "--epoch": 1, "--accelerate": accelerate}
            flags["--warmup"] = json.dumps(WARMUP | dict(settings))
        else:
            flags |= {"--model": data / "target", "--selection": data / "pool.parquet"}
            flags["--train"] = json.dumps(TRAIN | dict(settings))
        return [str(word) for pair in flags.items() for word in pair]

    return words_of


def run(*command) -> subprocess.CompletedProcess:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)


def output_of(*command) -> str:
    done = run(*command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def losses_of(out) -> list[float]:
    if (out / "training.json").exists():
        return json.loads((out / "training.json").read_text())["nll_per_step"]
    return [record["nll"] for record in records_of(out)]


def records_of(out) -> list[dict]:
    return [json.loads(line) for line in Path(f"{out}.jsonl").read_text().splitlines()]


def same_weights(one, other) -> bool:
    files = sorted(path.name for path in one.glob("*.safetensors"))
    frames = [(load_file(one / file), load_file(other / file)) for file in files]
    return files and all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in frames)


@pytest.mark.parametrize(
    ("stage", "settings"), [("warmup_epoch", {}), ("train_adapter", LORA), ("train_adapter", {"method": "full"})]
)
def test_a_killed_job_resumes_to_the_same_weights(python, stage, settings, words, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    given = {"live": tmp_path / "live", "settings": settings}
    command = (python, "-m", f"moesift.stages.{stage}")
    assert "resumes" not in output_of(*command, *words(stage, undisturbed, settings=settings))
    for step, moment in ((1, "before"), (2, "after"), (5, "before"), (6, "after")):
        dying = run(python, "-c", DYING.format(stage=stage, step=step, moment=moment), *words(stage, killed, **given))
        assert dying.returncode == -signal.SIGKILL, dying.stderr[-3000:]
        assert not killed.exists()
    newest = tmp_path / "killed.state" / "step-6" / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])  # damage the last state: the one before it is used
    resumed = output_of(*command, *words(stage, killed, **given))
    assert "resumes after 5 of " in resumed
    # The curve of the live view has each step once; numbers that a killed job had not written yet are missing.
    shown = EventAccumulator(str(tmp_path / "live")).Reload()
    steps = [point.step for point in shown.Scalars("tokens per second")]
    assert steps == sorted(set(steps))
    losses = dict(enumerate(losses_of(killed)))
    assert max(losses) == steps[-1]
    assert {5, max(losses)} <= set(steps)
    curve = {"warmup_epoch": "loss/nll", "train_adapter": "nll per token"}[stage]
    assert [point.value for point in shown.Scalars(curve)] == pytest.approx([losses[step] for step in steps])
    assert same_weights(undisturbed, killed)
    assert not (tmp_path / "killed.state").exists()
    assert losses_of(undisturbed) == losses_of(killed)
    if stage == "warmup_epoch":
        assert records_of(undisturbed) == records_of(killed)
        names = ["epoch", "step", "nll", "balance", "budget", "trash_shares", "multipliers", "gradient_norm"]
        assert list(records_of(killed)[0]) == names


def test_a_state_of_other_settings_is_ignored(python, words, tmp_path):
    stage = "warmup_epoch"
    run(python, "-c", DYING.format(stage=stage, step=3, moment="after"), *words(stage, tmp_path / "out"))
    assert (tmp_path / "out.state" / "step-3").is_dir()
    other = {"settings": {"learning_rate": 0.02}}
    command = (python, "-m", f"moesift.stages.{stage}")
    assert "resumes" not in output_of(*command, *words(stage, tmp_path / "out", **other))
    output_of(*command, *words(stage, tmp_path / "fresh", **other))
    assert same_weights(tmp_path / "out", tmp_path / "fresh")


def test_two_processes_give_the_same_warm_up_and_resume_as_well(python, words, tmp_path):
    two = tmp_path / "ddp.yaml"
    two.write_text((ROOT / "config/accelerate/ddp.yaml").read_text() + "use_cpu: true\n")
    launch = [python, "-m", "accelerate.commands.launch", "--num_cpu_threads_per_process", "1", "--config_file"]
    stage = ["-m", "moesift.stages.warmup_epoch"]
    output_of(*launch, SINGLE, *stage, *words("warmup_epoch", tmp_path / "one"))
    flags = words("warmup_epoch", tmp_path / "two", two)
    (tmp_path / "dying.py").write_text(DYING.format(stage="warmup_epoch", step=3, moment="after"))
    assert run(*launch, two, tmp_path / "dying.py", *flags).returncode != 0
    assert not (tmp_path / "two").exists()
    assert "resumes after 3 of 6 steps" in output_of(*launch, two, *stage, *flags)
    for one, other in zip(records_of(tmp_path / "one"), records_of(tmp_path / "two"), strict=True):
        assert one["nll"] == pytest.approx(other["nll"], abs=1e-4)
        assert one["trash_shares"] == pytest.approx(other["trash_shares"], abs=1e-4)
    weights = [load_file(tmp_path / name / "trash_experts.safetensors") for name in ("one", "two")]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-4) for name in weights[0])


def test_a_warm_up_that_would_shard_the_selector_is_an_error(python, words, tmp_path):
    file = "config/accelerate/zero2_cpu.yaml"
    ended = run(python, "-m", "moesift.stages.warmup_epoch", *words("warmup_epoch", tmp_path / "out", file))
    assert ended.returncode == 1
    assert f"moesift: error: {file}: distributed_type is DEEPSPEED, but the warm-up" in ended.stderr


def test_warm_up_examples_of_another_pool_are_an_error(python, words, data, tmp_path):
    pl.DataFrame({"id": ["00", "other"], "in_warmup": True, "place": [0, 1]}).write_parquet(tmp_path / "other.parquet")
    flags = words("warmup_epoch", tmp_path / "out")
    flags[flags.index("--examples") + 1] = str(tmp_path / "other.parquet")
    ended = run(python, "-m", "moesift.stages.warmup_epoch", *flags)
    assert ended.returncode == 1
    assert f"other.parquet: has ids that are not in {data / 'pool.parquet'}" in ended.stderr
