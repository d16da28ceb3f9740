"""Tuning as the workflow starts it: on one process, and on two with data parallelism, DeepSpeed and FSDP2."""

import functools
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
from transformers import AutoModelForCausalLM, AutoTokenizer

from moesift.demo.embedded import dense_config, moe_config
from moesift.models.batches import shuffled_batches
from moesift.models.chat import encode

ROOT = Path(__file__).parents[2]
SINGLE = "config/accelerate/single.yaml"
TRAIN = {"epochs": 2, "warmup_ratio": 0.1, "batch_size": 4}
LORA = TRAIN | {"method": "lora", "learning_rate": 0.01, "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.0}
TUNINGS = {
    "lora": LORA | {"lora_targets": ["q_proj", "down_proj"]},
    "experts": LORA | {"lora_targets": ["q_proj", "gate_proj", "up_proj", "down_proj"]},  # of a Mixture of Experts
    "full": TRAIN | {"method": "full", "learning_rate": 0.001},
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def targets(tmp_path_factory, tokenizer):
    """The target of each tuning."""
    torch.manual_seed(0)
    configs = {"dense": dense_config(tokenizer), "moe": moe_config(tokenizer)}
    folders = {name: tmp_path_factory.mktemp(name) for name in configs}
    for name, config in configs.items():
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return {"lora": folders["dense"], "experts": folders["moe"], "full": folders["moe"]}


@pytest.fixture(scope="module")
def target(targets):
    return targets["lora"]


@pytest.fixture(scope="module")
def selection(tmp_path_factory):
    """Nine short conversations: with steps of four, the last one is smaller."""
    path = tmp_path_factory.mktemp("selection") / "selected.parquet"
    answers = ["iron", "the cat", "a mat on the mat", "no", "which is a metal?", "sat", "the", "mat mat", "iron iron"]
    messages = [
        [{"role": "user", "content": f"which {n * 'the '}?"}, {"role": "assistant", "content": answer}]
        for n, answer in enumerate(answers)
    ]
    finished = [n % 3 > 0 for n in range(9)]
    pl.DataFrame({"id": [str(n) for n in range(9)], "messages": messages, "finished": finished}).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def launch(python, targets, selection):
    """A function that runs the stage as the rule does, or with other words before the accelerate file."""

    def run(out, accelerate, *words, tuning="lora", gpus="", module="moesift.stages.train_adapter", **settings):
        flags = {"--model": targets[tuning], "--selection": selection, "--out": out, "--seed": 0, "--threads": 1}
        flags |= {"--micro-batch": 1, "--state": f"{out}.state", "--save-every": 1000, "--max-length": 64}
        flags["--train"] = json.dumps({"accelerate": str(accelerate)} | TUNINGS[tuning] | settings)
        number = str(len(gpus.split(",")) if gpus else 0)
        words = words or ("moesift.launch", "--nodes", "1", "--gpus", number, "--threads", "1", "--config")
        command = [python, "-m", *words, accelerate, module, *(word for pair in flags.items() for word in pair)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpus, "PYTHONPATH": str(ROOT / "tests")}
        return subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def by_one(launch, tmp_path_factory):
    """A function that returns what one process makes of a tuning."""

    @functools.cache
    def trained(tuning):
        out = tmp_path_factory.mktemp("alone") / tuning
        done = launch(out, SINGLE, tuning=tuning)
        assert done.returncode == 0, done.stderr[-3000:]
        return out

    return trained


@pytest.fixture(scope="module")
def alone(by_one):
    return by_one("lora")


def losses(adapter) -> list[float]:
    return json.loads((adapter / "training.json").read_text())["nll_per_step"]


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*model.safetensors")))


def test_one_process_learns_and_records_its_settings(alone, target, selection):
    record = json.loads((alone / "training.json").read_text())
    assert (record["examples"], record["left_out"], record["steps"], record["processes"]) == (9, 0, 6, 1)
    assert record["nll_per_step"][-1] < record["nll_per_step"][0] - 0.1
    settings = {"seed": 0, "max_length": 64, "model": str(target), "dtype": None, "selection": str(selection)}
    assert record["settings"] == settings | {"accelerate": SINGLE} | TUNINGS["lora"]
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(target), alone)
    assert not (alone / "README.md").exists()  # peft's empty template
    assert {name.split(".")[-3] for name in weights(alone)} == {"q_proj", "down_proj"}


def test_the_first_loss_is_that_of_the_untuned_target(alone, target, selection, tokenizer):
    """By plain transformers, with an end token only after responses that are finished."""
    rows = pl.read_parquet(selection)
    (batch, *_) = shuffled_batches(rows.height, 4, seed=0, epoch=0)
    model = AutoModelForCausalLM.from_pretrained(target)

    def loss(finished) -> float:
        nll = tokens = 0
        for index in batch:
            (example,) = encode([rows["messages"][index].to_list()], tokenizer, 64, [finished[index]])
            ids, response = torch.tensor([example.ids]), torch.tensor([example.response])
            with torch.no_grad():
                nll += model(ids, labels=ids.masked_fill(~response, -100)).loss.item() * response.sum().item()
            tokens += response.sum().item()
        return nll / tokens

    assert losses(alone)[0] == pytest.approx(loss(rows["finished"].to_list()), abs=1e-5)
    assert losses(alone)[0] != pytest.approx(loss([True] * 9), abs=1e-4)


def on_cpus(name, folder) -> Path:
    """Write a file of config/accelerate for two CPU processes in the place of GPUs."""
    config = yaml.safe_load((ROOT / "config" / "accelerate" / f"{name}.yaml").read_text()) | {"use_cpu": True}
    if "deepspeed_config" in config:
        engine = json.loads((ROOT / config["deepspeed_config"]["deepspeed_config_file"]).read_text())
        engine["bf16"] = {"enabled": False}
        (folder / "engine.json").write_text(json.dumps(engine))
        config["deepspeed_config"]["deepspeed_config_file"] = str(folder / "engine.json")
    (folder / "accelerate.yaml").write_text(yaml.safe_dump(config))
    return folder / "accelerate.yaml"


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize(
    ("name", "distributed"),
    [("ddp", "MULTI_CPU"), ("zero1", "DEEPSPEED"), ("zero2", "DEEPSPEED"), ("zero3", "DEEPSPEED"), ("fsdp2", "FSDP")],
)
def test_two_processes_give_the_same_training(name, distributed, tuning, launch, by_one, targets, tmp_path):
    alone = by_one(tuning)
    module = "given.fsdp2" if name == "fsdp2" else "moesift.stages.train_adapter"
    file = on_cpus(name, tmp_path)
    done = launch(tmp_path / "two", file, tuning=tuning, module=module)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((tmp_path / "two" / "training.json").read_text())
    assert (record["processes"], record["distributed"]) == (2, distributed)
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), abs=1e-4)
    one, two = weights(alone), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)
    if tuning == "full":
        AutoModelForCausalLM.from_pretrained(tmp_path / "two")
        return
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(targets[tuning]), tmp_path / "two")
    if (name, tuning) == ("fsdp2", "lora"):
        # It replaces the model's parameters: those that are trained must be those that are clipped.
        launch(tmp_path / "steep", SINGLE, lora_alpha=128)  # gradient norms above 10; above 1 they are clipped
        launch(tmp_path / "steep two", file, lora_alpha=128, module=module)
        assert losses(tmp_path / "steep two") == pytest.approx(losses(tmp_path / "steep"), abs=2e-3)  # else 0.07


def test_in_full_all_weights_are_trained_and_the_result_is_a_model_like_the_target(by_one, targets, tokenizer):
    full, target = by_one("full"), targets["full"]
    record = json.loads((full / "training.json").read_text())
    assert record["nll_per_step"][-1] < record["nll_per_step"][0] - 0.1
    assert record["settings"]["method"] == "full"
    assert not [key for key in record["settings"] if key.startswith("lora_")]
    before, after = weights(target), weights(full)
    assert before.keys() == after.keys()
    same = [name for name in before if torch.equal(before[name], after[name])]
    assert all(".experts." in name for name in same)  # such as no token was sent to
    assert json.loads((target / "config.json").read_text()) == json.loads((full / "config.json").read_text())
    assert AutoTokenizer.from_pretrained(full).chat_template == tokenizer.chat_template
    kinds = {".json", ".jinja", ".safetensors"}
    assert {path.suffix for path in full.iterdir()} <= kinds


def test_the_file_for_cpus_differs_from_that_for_gpus_by_the_cpus_only(tmp_path):
    of_gpus = yaml.safe_load(on_cpus("zero2", tmp_path).read_text())
    of_cpus = yaml.safe_load((ROOT / "config" / "accelerate" / "zero2_cpu.yaml").read_text())
    del of_gpus["deepspeed_config"]["deepspeed_config_file"], of_cpus["deepspeed_config"]["deepspeed_config_file"]
    assert of_cpus == of_gpus


def test_fewer_processes_than_the_file_asks_for_are_an_error(launch, tmp_path):
    file = "config/accelerate/zero2_cpu.yaml"
    done = launch(tmp_path / "none", file, "accelerate.commands.launch", "--num_processes", "1", "-m", "--config_file")
    assert done.returncode != 0
    assert f"moesift: error: {file}: num_processes is 2, of type DEEPSPEED, but there are 1 of type" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("accelerate", ["single", "ddp", "zero2", "fsdp2"])
def test_gpus_that_torch_cannot_use_are_an_error(accelerate, launch, tmp_path):
    """GPUs with numbers that no machine has, in place of GPUs without a driver."""
    done = launch(tmp_path / "none", f"config/accelerate/{accelerate}.yaml", gpus="98,99")
    assert done.returncode != 0
    message = "moesift: error: the job asks for GPUs: 2; of those that it was given, torch can compute on: 0"
    assert message in done.stderr
    assert not (tmp_path / "none").exists()


def test_fsdp2_on_cpus_is_an_error(launch, tmp_path):
    done = launch(tmp_path / "none", on_cpus("fsdp2", tmp_path))
    assert done.returncode != 0
    assert "accelerate.yaml: distributed_type is FSDP, which accelerate supports only on GPUs" in done.stderr
    assert not (tmp_path / "none").exists()
