from collections.abc import Iterator

import pytest
from given.models import random_model
from transformers import PreTrainedTokenizerFast

from moesift.demo import embedded
from moesift.models.checkpoints import Selector
from moesift.models.routers import TrashCan
from moesift.preloaded import preloaded


@pytest.fixture(scope="session")
def python(tmp_path_factory) -> Iterator[str]:
    """A stand-in for the interpreter that has the libraries in memory already."""
    with preloaded(tmp_path_factory.mktemp("preloaded"), HF_HUB_OFFLINE="1") as client:
        yield client


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 320 tokens with the plain chat template."""
    return embedded.train_tokenizer(["the cat sat on the mat", "which is a metal? iron"] * 4, 320)


@pytest.fixture
def selector(tokenizer) -> Selector:
    """A tiny OLMoE with one trash-can expert attached to each router."""
    model, settings = random_model("Olmoe"), {"trash_ratio": 0.25, "role": "appended", "seed": 0}
    return Selector(model, tokenizer, TrashCan(model, **settings), settings)


@pytest.fixture
def conversations() -> list[list[dict[str, str]]]:
    """Six short conversations of different lengths."""
    answers = ["iron", "the cat", "a mat on the mat", "no", "which is a metal?", "sat on the cat and on the mat"]
    return [
        [{"role": "user", "content": f"which {number * 'the '}?"}, {"role": "assistant", "content": answer}]
        for number, answer in enumerate(answers)
    ]
