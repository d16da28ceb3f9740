"""Inputs of the benchmarks: random models of real proportions, and examples of realistic lengths."""

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from moesift.demo import embedded
from moesift.models.chat import Encoded
from moesift.models.checkpoints import Selector
from moesift.models.loading import device
from moesift.models.routers import TrashCan

VOCABULARY = 50_304  # OLMoE's
PAD = 1

# OLMoE-1B-7B is 2,048 wide, 16 layers deep, with experts of 1,024: 64 of them, of which 8 run. The same at an eighth.
SMALL = {"hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 8, "num_attention_heads": 4}
FULL = {"hidden_size": 2048, "intermediate_size": 1024, "num_hidden_layers": 16, "num_attention_heads": 16}
# Qwen2.5-1.5B's.
FULL_TARGET = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
}


def selector(full_size: bool = False, dtype: torch.dtype | None = None) -> Selector:
    """Return a selector with random weights and 16 trash-can experts: at full size, else an eighth as wide.

    Args:
        dtype: of its weights; where none is named, bf16 at full size and else float32.
    """
    shape = FULL if full_size else SMALL
    config = OlmoeConfig(
        **shape,
        num_key_value_heads=shape["num_attention_heads"],
        num_experts=64,
        num_experts_per_tok=8,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        pad_token_id=PAD,
        eos_token_id=0,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    with device():
        model = OlmoeForCausalLM(config)
    model = model.to(dtype or (torch.bfloat16 if full_size else torch.float32)).eval()
    words = Tokenizer(WordLevel({"<end>": 0, "<pad>": 1}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", pad_token="<pad>")
    return Selector(model, tokenizer, TrashCan(model, 0.25, "appended", seed=0), {})


def target(full_size: bool = False) -> PreTrainedModel:
    """Return a dense Llama with random weights: at full size of 1.5 billion parameters in bf16, else a small one."""
    shape = FULL_TARGET if full_size else SMALL | {"intermediate_size": 704, "vocab_size": VOCABULARY}
    torch.manual_seed(0)
    with device():
        model = LlamaForCausalLM(LlamaConfig(**shape))
    return model.to(torch.bfloat16 if full_size else torch.float32)


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a small byte-level tokenizer with the plain chat template."""
    return embedded.train_tokenizer([turn["content"] for chat in conversations(200) for turn in chat], 2048)


def conversations(count: int, seed: int = 0) -> list[list[dict[str, str]]]:
    """Return random conversations of one or two turns each, with log-normal numbers of words."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 10))) for _ in range(1000)]

    def text() -> str:
        return " ".join(rng.choice(words, max(3, int(np.exp(rng.normal(np.log(30), 0.9))))))

    return [
        [{"role": role, "content": text()} for _ in range(rng.integers(1, 3)) for role in ("user", "assistant")]
        for _ in range(count)
    ]


def examples(count: int, longest: int, seed: int = 0, shortest: int = 12) -> list[Encoded]:
    """Return random examples whose lengths are log-normal, as those of instruction data are: many short, few long.

    The median is 90 tokens, a tenth has more than 280; a response is between a fifth and four fifths of its example.
    """
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(np.log(90), 0.9, count)).astype(int).clip(shortest, longest)
    encoded = []
    for length in lengths:
        prompt = int(length * rng.uniform(0.2, 0.8))
        ids = rng.integers(2, VOCABULARY, length).tolist()
        encoded.append(Encoded(ids, [False] * prompt + [True] * (length - prompt)))
    return encoded
