import sys
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml
from given.models import random_model
from transformers import LlamaConfig

from moesift.config import validated
from moesift.errors import UserError
from moesift.stages import estimate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def models(tmp_path, tokenizer):
    """Configurations and tokenizers alone: no weights are needed."""
    random_model("Olmoe").to(torch.bfloat16).config.save_pretrained(tmp_path / "moe")
    LlamaConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    ).save_pretrained(tmp_path / "dense")
    for name in ("moe", "dense"):
        tokenizer.save_pretrained(tmp_path / name)
    return tmp_path


def estimated(folder, monkeypatch, *flags, selector=None):
    monkeypatch.chdir(ROOT)
    config = validated(yaml.safe_load((ROOT / "config/config.yaml").read_text())).model_dump_json()
    models = ["--selector", selector or str(folder / "moe"), "--target", str(folder / "dense")]
    words = ["--config", config, *models, "--out", str(folder / "estimate.txt"), *flags]
    monkeypatch.setattr(sys, "argv", ["estimate", *words])
    estimate.main()
    return (folder / "estimate.txt").read_text()


def test_it_needs_configurations_alone_and_is_printed(models, monkeypatch, capsys):
    text = estimated(models, monkeypatch)
    assert capsys.readouterr().out.startswith(text)
    # embeddings and head 2 * 320 * 32; per layer q, o 32 * 32, k, v 32 * 32, MLP 3 * 32 * 48, two norms; a last norm
    assert f"{2 * 320 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32) + 32:,} parameters" in text
    assert "2 of 4 experts in 2 layers" in text
    assert "4,050 examples of 60.0 tokens" in text
    assert "assumed: estimate.pool_examples" in text


def test_a_pool_that_is_there_is_counted(models, tokenizer, conversations, monkeypatch):
    pl.DataFrame({"messages": conversations}).write_parquet(models / "pool.parquet")
    text = estimated(models, monkeypatch, "--pool", str(models / "pool.parquet"))
    lengths = [len(tokenizer.apply_chat_template(turns)["input_ids"]) for turns in conversations]
    assert f"6 examples of {sum(lengths) / 6:,.1f} tokens for the selector" in text
    assert "the pool is there; tokens counted on 6 of them" in text


def test_a_model_out_of_reach_is_one_error(models, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"selector.model: nobody/nothing is neither a model directory here nor"):
        estimated(models, monkeypatch, selector="nobody/nothing")
    assert not (models / "estimate.txt").exists()
