"""What can be tested of config/olmoe_less.yaml without the hub: its settings, and each loader on a directory like the
hub's."""

import json
import zipfile
from copy import deepcopy
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from given.models import FAMILIES, random_model
from snakemake.utils import update_config
from transformers import AutoModelForCausalLM

from moesift.config import Data
from moesift.evaluation.tasks import task_manager
from moesift.fields import ConfigError
from moesift.models import checkpoints
from moesift.models.loading import load_model
from moesift.plan import planned
from moesift.stages import prepare
from moesift.validation import validated

CONFIG = Path(__file__).parents[1] / "config"
SOURCES = ["flan_v2", "cot", "dolly", "oasst1"]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(CONFIG.parent)


def merged(*names: str) -> dict:
    """As snakemake merges config/config.yaml and each --configfile."""
    config = {}
    for name in ("config.yaml", *names):
        update_config(config, yaml.safe_load((CONFIG / name).read_text()))
    return config


def test_it_is_the_experiment_of_the_less_paper():
    config = validated(merged("olmoe_less.yaml"))
    assert (config.selector.model, config.target.model) == ("allenai/OLMoE-1B-7B-0125", "meta-llama/Llama-2-7b-hf")
    assert (config.select.ratio, config.seeds, config.data.corrupt) == ([0.05], [0, 1, 2], 0)
    assert [source.name for source in config.data.sources] == SOURCES
    train = config.train
    assert (train.lora_rank, train.lora_alpha, train.lora_dropout) == (128, 512, 0.1)
    assert train.lora_targets == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (train.epochs, train.batch_size, train.learning_rate, train.warmup_ratio) == (4, 128, 2e-5, 0.03)
    assert config.data.max_length == 2048
    assert [(task.name, task.fewshot, task.limit) for task in config.evaluate.tasks] == [
        ("mmlu", 5, None),
        ("bbh", 3, None),
        ("tydiqa_goldp", 1, None),
    ]
    assert config.evaluate.data == "hub"
    assert len(planned(config).runs) == 8 * 3


def test_the_variant_differs_in_its_target_alone():
    variant = merged("olmoe_less.yaml", "olmoe_less_qwen.yaml")
    planned(validated(variant))
    assert variant["target"] == {"model": "Qwen/Qwen2.5-1.5B", "dtype": None}
    first = merged("olmoe_less.yaml")
    assert {key for key in first if first[key] != variant[key]} == {"experiment", "target"}


def test_a_misspelt_key_in_it_would_be_found():
    config = merged("olmoe_less.yaml")
    config["data"]["sources"][0]["membre"] = "x"
    with pytest.raises(ConfigError, match=r"data.sources.0.membre: unknown key; did you mean member\?"):
        validated(config)


def test_lm_eval_has_its_tasks():
    manager = task_manager()
    assert {"mmlu", "bbh"} <= set(manager.all_groups)
    assert "tydiqa_goldp" in manager.all_tags
    assert sum(name.startswith("tydiqa_goldp_") for name in manager.all_subtasks) == 9


def less_row(source: str, number: int) -> str:
    turns = [
        {"role": "user", "content": f"What is {number} of {source}?"},
        {"role": "assistant", "content": f"It is {source} {number}."},
    ]
    return json.dumps({"dataset": source, "id": f"{source}_{number}", "messages": turns})


@pytest.fixture
def less_data(tmp_path):
    """princeton-nlp/less_data in small: one archive, with a folder above `train` and evaluation data beside it."""
    folder = tmp_path / "less_data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "less-data.zip", "w") as archive:
        archive.writestr("data/", "")
        for source in SOURCES:
            lines = [less_row(source, number) for number in range(5)]
            archive.writestr(f"data/train/processed/{source}/{source}_data.jsonl", "\n".join([*lines, "{broken"]))
        archive.writestr("data/eval/mmlu/dev/law_dev.csv", "a,b")
    return folder


def test_its_sources_become_a_pool(less_data, tmp_path):
    sources = [source | {"hub": str(less_data)} for source in merged("olmoe_less.yaml")["data"]["sources"]]
    data = Data(sources=sources, heldout=2, corrupt=0, corruptions=[], seed=0, max_length=2048)
    prepare.main(data, *(tmp_path / f"{name}.parquet" for name in ("pool", "heldout", "rejected")))
    pool, heldout, rejected = (pl.read_parquet(tmp_path / f"{n}.parquet") for n in ("pool", "heldout", "rejected"))
    assert (pool.height, heldout.height) == (18, 2)
    read = pl.concat([pool.select("source", "messages"), heldout.select("source", "messages")])
    assert sorted(row["messages"][-1]["content"] for row in read.to_dicts()) == sorted(
        f"It is {source} {number}." for source in SOURCES for number in range(5)
    )
    assert sorted(rejected.select("source", "row").rows()) == [(source, 5) for source in sorted(SOURCES)]
    assert all("is not JSON" in reason for reason in rejected["reason"])


def sharded(family: str, folder: Path, tokenizer, dtype: torch.dtype) -> torch.nn.Module:
    """Save a random model as the hub holds large ones: several safetensors files and an index; no chat template."""
    model = random_model(family).to(dtype)
    model.save_pretrained(folder, max_shard_size="20KB")
    without = deepcopy(tokenizer)  # the fixture is of the session
    without.chat_template = None
    without.save_pretrained(folder)
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    assert (folder / "model.safetensors.index.json").is_file()
    assert not (folder / "chat_template.jinja").exists()
    return model


IDS = torch.tensor([[5, 6, 7, 8, 9]])


def test_a_sharded_selector_in_bf16_is_loaded_warmed_and_saved(tmp_path, tokenizer):
    model = sharded("Olmoe", tmp_path / "olmoe", tokenizer, torch.bfloat16)
    selector = checkpoints.attach(str(tmp_path / "olmoe"), 0.25, "appended", 0)
    routers = {name for name in selector.trash_can.parameters() if not name.endswith("trash_weight")}
    assert {p.dtype for p in selector.trash_can.parameters().values()} == {torch.float32}
    for name, value in model.state_dict().items():
        loaded = selector.model.state_dict()[name]
        assert loaded.dtype == (torch.float32 if name in routers else torch.bfloat16), name
        assert torch.equal(loaded.to(torch.bfloat16), value), name
    assert selector.tokenizer.chat_template is not None

    checkpoints.save(selector, tmp_path / "epoch-0", None, {})
    again = checkpoints.load(tmp_path / "epoch-0")
    assert torch.equal(again.model(IDS).logits, selector.model(IDS).logits)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "epoch-0", dtype="auto")
    assert plain.dtype == torch.bfloat16


def test_a_sharded_target_without_a_chat_template_is_loaded(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setitem(FAMILIES, "Llama", {"intermediate_size": 48})
    model = sharded("Llama", tmp_path / "llama", tokenizer, torch.float16)  # as Llama 2 is stored
    loaded, with_template = load_model(str(tmp_path / "llama"))
    assert loaded.dtype == torch.float16
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    said = with_template.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "<|user|>\nhi\n"
