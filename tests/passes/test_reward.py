"""The pass `reward` against plain transformers, one example at a time, of decoders and of an encoder."""

import json

import numpy as np
import pytest
import torch
from given.models import SMALL
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from moesift.errors import UserError
from moesift.models.chat import encode
from moesift.models.loading import load_classifier
from moesift.passes import reader, reward
from moesift.passes.columns import PASSES

TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}"
    "{{ eos_token if message.role == 'assistant' else ' ' }}{% endfor %}"
    "{{ '[assistant] ' if add_generation_prompt else '' }}"
)
DECODER = SMALL | {"intermediate_size": 48}
CASES = {
    "no padding": LlamaConfig(**(DECODER | {"pad_token_id": None}), num_labels=1),
    "padding": LlamaConfig(**DECODER, num_labels=1),
    "padding is the end": Qwen2Config(**(DECODER | {"pad_token_id": 0}), num_labels=1),
    "labels": LlamaConfig(
        **DECODER, id2label={0: "bad", 1: "good", 2: "best"}, label2id={"bad": 0, "good": 1, "best": 2}
    ),
    "several numbers": LlamaConfig(**DECODER, num_labels=2, problem_type="regression"),
    "several at once": LlamaConfig(**DECODER, num_labels=2, problem_type="multi_label_classification"),
    "encoder": BertConfig(
        **{key: SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")},
        **{"vocab_size": 320, "intermediate_size": 48, "max_position_embeddings": 64, "num_labels": 2},
    ),
}


def words() -> PreTrainedTokenizerFast:
    """A tokenizer in the manner of BERT's: lower case, [CLS] before and [SEP] behind, no end token, no template."""
    letters = "abcdefghijklmnopqrstuvwxyz?<>|\n"
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), "the", "cat"]
    tokenizer = Tokenizer(models.WordPiece({word: id for id, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def saved(folder, config, tokenizer):
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # not those of normalisations
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    if isinstance(config, BertConfig):
        words().save_pretrained(folder)
    else:
        tokenizer.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_transformers_one_example_at_a_time(tmp_path, tokenizer, conversations, case):
    """Rendered by the model's own template, whatever is in a batch, and with whatever padding."""
    folder = saved(tmp_path / "model", CASES[case], tokenizer)
    reads = reader.load(str(folder), "reward", is_epoch=False)
    plain = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    expected = []
    for messages in conversations:
        text = reads.tokenizer.apply_chat_template(messages, tokenize=False)
        ids = reads.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = [2, *ids] if case == "encoder" else ids  # [CLS]; the plain template writes the end, which is [SEP]
        with torch.no_grad():
            logits = plain(torch.tensor([ids])).logits[0]
        if case in ("labels", "encoder"):
            logits = torch.tensor([value - logits.exp().sum().log() for value in logits])
        if case == "several at once":
            logits = torch.tensor([-(1 + (-value).exp()).log() for value in logits])
        expected.append(logits.tolist())
    examples = encode(conversations, reads.tokenizer, 64)
    for budget in (1, 100, 10_000):
        values = reward.read(reads, examples, budget)
        assert list(values) == list(PASSES["reward"])
        assert np.array(values["scores"]) == pytest.approx(np.array(expected), abs=1e-4)
    assert np.std(expected, axis=0).min() > 1e-2
    names = ["bad", "good", "best"] if case == "labels" else [f"LABEL_{n}" for n in range(len(expected[0]))]
    assert [json.loads(labels) for labels in values["labels"]] == [names] * len(conversations)
    assert reads.model.config.pad_token_id == CASES[case].pad_token_id


def test_a_model_without_a_trained_head_is_refused(tmp_path, tokenizer):
    """transformers would draw one."""
    LlamaForCausalLM(LlamaConfig(**DECODER)).save_pretrained(tmp_path / "causal")
    tokenizer.save_pretrained(tmp_path / "causal")
    message = (
        r"reward.model: .*causal is LlamaForCausalLM, and should be a reward model or a classifier of transformers"
    )
    with pytest.raises(UserError, match=message):
        load_classifier(str(tmp_path / "causal"))
    settings = json.loads((tmp_path / "causal/config.json").read_text())
    settings["architectures"] = ["LlamaForSequenceClassification"]
    (tmp_path / "causal/config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"its files lack 1 of its weights, such as score.weight"):
        load_classifier(str(tmp_path / "causal"))
