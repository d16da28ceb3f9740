"""The tiny models that are pretrained here, so that everything can be tried without the hub."""

from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, OlmoeConfig, PretrainedConfig, PreTrainedTokenizerFast

from moesift.models.templates import PLAIN_TEMPLATE

WIDTH = 96
LAYERS = 4
HEADS = 4
CONTEXT = 512
END = "<|end|>"
PAD = "<|pad|>"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer; its role marks are ordinary text, as for any base model."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=PLAIN_TEMPLATE,
        model_max_length=CONTEXT,
    )


def windows(stream: Tensor, length: int, seed: int) -> Tensor:
    """Cut a stream of tokens, (N,), into shuffled windows, (N // length, length) int64; the remainder is dropped."""
    count = len(stream) // length
    cut = stream[: count * length].view(count, length).long()
    return cut[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]


def moe_config(tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    """Return the shape of the selector: OLMoE with 8 experts, top-2, about a million parameters."""
    return OlmoeConfig(**_shape(tokenizer), intermediate_size=64, num_experts=8, num_experts_per_tok=2)


def dense_config(tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    """Return the shape of the target: Llama, as wide and deep as the selector."""
    return LlamaConfig(**_shape(tokenizer), intermediate_size=256)


def _shape(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
