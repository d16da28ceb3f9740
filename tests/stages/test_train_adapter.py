"""LoRA tuning as the workflow starts it, with one process and with DeepSpeed on two."""

import json
import os
import subprocess
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from moesift.demo.embedded import dense_config
from moesift.models.batches import shuffled_batches
from moesift.models.chat import encode

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(tmp_path_factory, tokenizer):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("target")
    AutoModelForCausalLM.from_config(dense_config(tokenizer), dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    """Nine short conversations: with steps of four, the last is not full."""
    path = tmp_path_factory.mktemp("selection") / "selected.parquet"
    answers = [
        "iron",
        "the cat",
        "a mat on the mat",
        "no",
        "which is a metal?",
        "sat",
        "the",
        "mat mat",
        "iron iron iron",
    ]
    messages = [
        [{"role": "user", "content": f"which {n * 'the '}?"}, {"role": "assistant", "content": answer}]
        for n, answer in enumerate(answers)
    ]
    finished = [n % 3 > 0 for n in range(9)]
    pl.DataFrame({"id": [str(n) for n in range(9)], "messages": messages, "finished": finished}).write_parquet(path)
    return path


def launch(
    python, target, selection, out, accelerate, *more, alpha=8, gpus="", module="moesift.stages.train_adapter"
) -> subprocess.CompletedProcess:
    values = {
        "--model": target,
        "--selection": selection,
        "--out": out,
        "--seed": 0,
        "--threads": 1,
        "--micro-batch": 1,
        "--recompute": 0,
        "--state": f"{out}.state",
        "--save-every": 1000,
        "--max-length": 64,
        "--accelerate": accelerate,
        "--epochs": 2,
        "--learning-rate": 0.01,
        "--warmup-ratio": 0.1,
        "--batch-size": 4,
        "--lora-rank": 4,
        "--lora-alpha": alpha,
        "--lora-dropout": 0.0,
        "--lora-targets": "[q_proj, down_proj]",
    }
    command = [python, "-m", "moesift.launch", "--nodes", "1", "--gpus", str(len(gpus.split(",")) if gpus else 0)]
    command += ["--threads", "1", "--config"]
    if more:
        command = [python, "-m", "accelerate.commands.launch", *more, "-m", "--config_file"]
    command += [str(accelerate), module]
    command += [str(word) for pair in values.items() for word in pair]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpus, "PYTHONPATH": str(ROOT / "tests")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def alone(python, target, selection, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "adapter"
    done = launch(python, target, selection, out, "config/accelerate/single.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def losses(adapter) -> list[float]:
    return json.loads((adapter / "training.json").read_text())["nll_per_step"]


def test_one_process_learns_and_saves_what_made_it(alone, target):
    made = json.loads((alone / "training.json").read_text())
    assert (made["examples"], made["left_out"], made["steps"], made["processes"]) == (9, 0, 6, 1)
    assert made["nll_per_step"][-1] < made["nll_per_step"][0] - 0.1
    assert made["settings"]["learning_rate"] == 0.01
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(target), alone)
    assert not (alone / "README.md").exists()  # peft's empty form
    targets = {name.split(".")[-3] for name in load_file(alone / "adapter_model.safetensors")}
    assert targets == {"q_proj", "down_proj"}


def test_the_first_loss_is_that_of_the_target_as_it_came(alone, target, selection, tokenizer):
    """By plain transformers, from the responses as the selection has them: with an end where they are finished."""
    rows = pl.read_parquet(selection)
    (batch, *_) = shuffled_batches(rows.height, 4, seed=0, epoch=0)
    model = AutoModelForCausalLM.from_pretrained(target)

    def loss(finished) -> float:
        nats = tokens = 0
        for index in batch:
            (example,) = encode([rows["messages"][index].to_list()], tokenizer, 64, [finished[index]])
            ids, response = torch.tensor([example.ids]), torch.tensor([example.response])
            with torch.no_grad():
                nats += model(ids, labels=ids.masked_fill(~response, -100)).loss.item() * response.sum().item()
            tokens += response.sum().item()
        return nats / tokens

    assert losses(alone)[0] == pytest.approx(loss(rows["finished"].to_list()), abs=1e-5)
    assert losses(alone)[0] != pytest.approx(loss([True] * 9), abs=1e-4)


def test_the_same_seed_gives_the_same_adapter(python, alone, target, selection, tmp_path):
    done = launch(python, target, selection, tmp_path / "again", "config/accelerate/single.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    first, again = (load_file(folder / "adapter_model.safetensors") for folder in (alone, tmp_path / "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def on_cpus(name, folder) -> Path:
    """Write what config/accelerate has for GPUs as it would be for two CPU processes."""
    made = yaml.safe_load((ROOT / "config" / "accelerate" / f"{name}.yaml").read_text()) | {"use_cpu": True}
    if "deepspeed_config" in made:
        engine = json.loads((ROOT / made["deepspeed_config"]["deepspeed_config_file"]).read_text())
        engine["bf16"] = {"enabled": False}
        (folder / "engine.json").write_text(json.dumps(engine))
        made["deepspeed_config"]["deepspeed_config_file"] = str(folder / "engine.json")
    (folder / "accelerate.yaml").write_text(yaml.safe_dump(made))
    return folder / "accelerate.yaml"


@pytest.mark.parametrize(
    ("name", "distributed"), [("ddp", "MULTI_CPU"), *((f"zero{stage}", "DEEPSPEED") for stage in (1, 2, 3))]
)
def test_two_processes_are_the_same_training(name, distributed, python, alone, target, selection, tmp_path):
    done = launch(python, target, selection, tmp_path / "two", on_cpus(name, tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads((tmp_path / "two" / "training.json").read_text())
    assert (made["processes"], made["distributed"]) == (2, distributed)
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), abs=1e-4)
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (alone, tmp_path / "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(target), tmp_path / "two")


def test_two_processes_of_fsdp2_are_the_same_training(python, alone, target, selection, tmp_path):
    """It puts other parameters in the place of a model's: those that are trained must be those that are clipped."""
    spread = on_cpus("fsdp2", tmp_path)
    done = launch(python, target, selection, tmp_path / "two", spread, module="given.fsdp2")
    assert done.returncode == 0, done.stderr[-3000:]
    made = json.loads((tmp_path / "two" / "training.json").read_text())
    assert (made["processes"], made["distributed"]) == (2, "FSDP")
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), abs=1e-4)
    one, two = (load_file(folder / "adapter_model.safetensors") for folder in (alone, tmp_path / "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)

    steep = [tmp_path / "steep alone", tmp_path / "steep two"]  # gradients of norms above 10; above 1 they are clipped
    launch(python, target, selection, steep[0], "config/accelerate/single.yaml", alpha=128)
    launch(python, target, selection, steep[1], spread, alpha=128, module="given.fsdp2")
    assert losses(steep[1]) == pytest.approx(losses(steep[0]), abs=2e-3)  # 0.07 where they are not


def test_the_file_for_cpus_is_that_for_gpus_on_cpus(tmp_path):
    of_gpus = yaml.safe_load(on_cpus("zero2", tmp_path).read_text())
    of_cpus = yaml.safe_load((ROOT / "config" / "accelerate" / "zero2_cpu.yaml").read_text())
    del of_gpus["deepspeed_config"]["deepspeed_config_file"], of_cpus["deepspeed_config"]["deepspeed_config_file"]
    assert of_cpus == of_gpus


def test_a_launch_that_is_not_what_was_asked_for_stops(python, target, selection, tmp_path):
    done = launch(
        python, target, selection, tmp_path / "none", "config/accelerate/zero2_cpu.yaml", "--num_processes", "1"
    )
    assert done.returncode != 0
    assert "moesift: error: config/accelerate/zero2_cpu.yaml: num_processes is 2, but there are 1" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("accelerate", ["single", "ddp", "zero2", "fsdp2"])
def test_a_training_on_gpus_that_torch_cannot_use_stops(accelerate, python, target, selection, tmp_path):
    """Numbers that no machine has stand for GPUs whose driver, or whose torch, does not do."""
    file = f"config/accelerate/{accelerate}.yaml"
    done = launch(python, target, selection, tmp_path / "none", file, gpus="98,99")
    assert done.returncode != 0
    assert (
        "moesift: error: the job asks for GPUs: 2; of those that it was given, torch can compute on: 0" in done.stderr
    )
    assert not (tmp_path / "none").exists()


def test_processes_that_fsdp2_would_leave_alone_are_refused(python, target, selection, tmp_path):
    done = launch(python, target, selection, tmp_path / "none", on_cpus("fsdp2", tmp_path))
    assert done.returncode != 0
    assert "accelerate.yaml: distributed_type is FSDP, which accelerate spreads over GPUs alone" in done.stderr
    assert not (tmp_path / "none").exists()
