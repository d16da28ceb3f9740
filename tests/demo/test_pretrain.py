"""One of the embedded models, from a tokenised corpus."""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from moesift.demo import pretrain
from moesift.errors import UserError


@pytest.fixture
def pretrained(tmp_path, monkeypatch, tokenizer):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    ids = torch.randint(len(tokenizer), (5000,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    save_file({"ids": ids}, tmp_path / "corpus.safetensors")

    def make(tokens: int, shape: str):
        words = ["model", "--shape", shape, "--tokenizer", tmp_path / "tokenizer", "--out", tmp_path / "model"]
        words += ["--corpus", tmp_path / "corpus.safetensors", "--log", tmp_path / "log.jsonl", "--threads", 1]
        words += ["--tokens", tokens, "--learning-rate", 0.001, "--seed", 0]
        monkeypatch.setattr("sys.argv", ["pretrain", *map(str, words)])
        pretrain.main()
        return tmp_path

    return make


@pytest.mark.parametrize("shape", ["dense", "moe"])
def test_a_model_is_written_with_its_losses(pretrained, shape):
    """4,999 tokens are 39 windows of 128, and those two steps of 16 and a rest."""
    folder = pretrained(4999, shape)
    losses = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in losses] == [0, 1]
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    assert losses[0]["loss"] == pytest.approx(torch.tensor(float(model.config.vocab_size)).log().item(), abs=0.3)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (2047, "embedded.tokens: 2047 make no step; at least 2048 are needed"),
        (5001, "embedded.tokens: 5001 is more than the 5000 tokens of embedded.corpus"),
    ],
)
def test_too_few_and_too_many_tokens_are_refused(pretrained, tmp_path, tokens, message):
    with pytest.raises(UserError, match=message):
        pretrained(tokens, "dense")
    assert not (tmp_path / "model").exists()
