"""In which direction an example pulls the LoRA matrices of a checkpoint: what LESS (arXiv 2402.04333) keeps of it."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moesift.models import sketch
from moesift.models.batches import Batch, per_example
from moesift.models.chat import Encoded
from moesift.models.gradients import each_gradient
from moesift.passes.reader import Reader, Values

# Tokens of a batch on a GPU, which holds all that the backward pass needs of them.
ON_GPU = 4096


def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass, from one forward and backward pass; projections are rows of float16."""
    assert reader.lora is not None
    (moments, learning_rate), device = reader.lora, reader.model.device

    def measure(batch: Batch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        gradients, steps = torch.zeros((2, len(batch.ids), 2 * reader.dimension), device=device)

        def take(name: str, rows: slice, gradient: Tensor) -> None:
            sketch.add(gradients[rows], name, gradient)
            sketch.add(steps[rows], name, adam_step(gradient, *moments[name]))

        each_gradient(reader.model, batch, take)
        return zip(_unit(gradients), _unit(steps), strict=True)

    budget = token_budget or (ON_GPU if device.type == "cuda" else 0)
    rows = per_example(measure, examples, reader.tokenizer.pad_token_id, budget, device, "gradients")
    gradients, steps = zip(*rows, strict=True) if rows else ((), ())
    return {"gradient": gradients, "adam": steps, "learning_rate": [learning_rate] * len(examples)}


def adam_step(gradient: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the direction of the step that Adam would take from a checkpoint for one example, (B, n).

    As the published code of LESS computes it: without the correction of the moments' bias, and with ε below the root.

    Args:
        gradient: of each example, (B, n).
        first: the checkpoint's mean of gradients (β1 0.9), of n numbers.
        second: and of their squares (β2 0.999).
    """
    first, second = first.flatten(), second.flatten()
    return (0.9 * first + 0.1 * gradient) / (0.999 * second + 0.001 * gradient.square() + 1e-8).sqrt()


def _unit(sums: Tensor) -> np.ndarray:
    """Return sketches of length 1, (B, k) float16: their numbers are too near 1 / sqrt(k) to over- or underflow."""
    return F.normalize(sketch.result(sums), dim=1).half().cpu().numpy()
