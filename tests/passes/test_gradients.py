"""The features of LESS against its formula, one example at a time, by dense matrices."""

import numpy as np
import pytest
import torch
from given.gradients import alone, with_lora
from given.models import random_dense_model, random_model

from moesift.models import sketch
from moesift.models.chat import encode
from moesift.models.lora_checkpoints import Checkpoint
from moesift.passes import gradients
from moesift.passes.columns import PASSES
from moesift.passes.reader import Reader

K = 512


@pytest.fixture(params=["Llama", "Olmoe"])
def reader(request, tokenizer):
    model = with_lora(random_dense_model() if request.param == "Llama" else random_model("Olmoe"))
    torch.manual_seed(1)
    matrices = {name: value for name, value in model.named_parameters() if ".lora_" in name}
    moments = {
        name: (torch.randn_like(value) * 1e-3, torch.rand_like(value) * 1e-5) for name, value in matrices.items()
    }
    return Reader(tokenizer, model, None, Checkpoint(moments, 2e-5), K)


def reference(reader, example):
    """Return g and Γ of one example, as float64 and projected by a matrix."""
    projected = np.zeros((2, K))
    for name, gradient in alone(reader.model, example).items():
        g, m, v = (one.detach().double().numpy().ravel() for one in (gradient, *reader.lora.moments[name]))
        places = sketch.places(name, g.size, K, torch.device("cpu")).numpy()
        matrix = np.zeros((g.size, K))
        matrix[np.arange(g.size), places % K] = np.where(places < K, 1, -1)
        step = (0.9 * m + 0.1 * g) / np.sqrt(0.999 * v + 0.001 * g**2 + 1e-8)
        projected += np.stack([g, step]) @ matrix
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)


def test_features_are_those_of_the_formula(reader, conversations):
    examples = encode(conversations, reader.tokenizer, 60)
    expected = np.stack([reference(reader, example) for example in examples], axis=1)  # (2, N, K)
    values = gradients.read(reader, examples, 100)
    assert list(values) == list(PASSES["gradients"])
    assert values["learning_rate"] == [2e-5] * len(examples)
    g, steps = (torch.tensor(np.stack(values[name])) for name in ("gradient", "adam"))
    assert g.dtype == steps.dtype == torch.float16
    rounding = 2.0**-11 * np.abs(expected)  # of float16
    assert (np.abs(np.stack([g, steps]) - expected) < rounding + 1e-5).all()
