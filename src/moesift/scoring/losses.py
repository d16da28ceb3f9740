"""The loss of a model on each of many examples."""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from moesift.models.batches import Batch, mean_over, per_example
from moesift.models.chat import Encoded, responses_alone
from moesift.models.routers import middle_inputs
from moesift.training.objectives import response_nats_in_chunks, token_nats_in_chunks

SKETCH = 128  # numbers that a sketch has


@torch.inference_mode()
def nats(model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int) -> list[float]:
    """Return the cross-entropy of each example's response tokens, summed, in nats."""

    def measure(batch: Batch) -> list[float]:
        return response_nats_in_chunks(model, batch).tolist()

    return per_example(measure, examples, pad_id, token_budget, model.device, "loss")


@torch.inference_mode()
def nats_and_end(
    model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int
) -> list[tuple[float, float]]:
    """Return the same, and the cross-entropy of the last response token alone, from one pass."""

    def measure(batch: Batch) -> Iterator[tuple[float, float]]:
        nats, end = _nats_and_end(model, batch)
        return zip(nats.tolist(), end.tolist(), strict=True)

    return per_example(measure, examples, pad_id, token_budget, model.device, "loss")


@torch.inference_mode()
def nats_end_and_sketch(
    model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int
) -> list[tuple[float, float, list[float]]]:
    """Return the same two, and a sketch of what the router in the middle of the model reads, from one pass.

    The sketch is a random projection to SKETCH numbers of the mean over the response tokens: distances stay nearly what
    they are (Johnson and Lindenstrauss 1984), in a tenth of the numbers and less.

    Raises:
        UserError: the model has no router.
    """
    with middle_inputs(model) as read:

        def measure(batch: Batch) -> Iterator[tuple[float, float, list[float]]]:
            nats, end = _nats_and_end(model, batch)
            mean = mean_over(read().float(), batch.response.float())  # (B, D)
            sketch = mean @ _projection(mean.shape[1], mean.device)  # (B, SKETCH)
            return zip(nats.tolist(), end.tolist(), sketch.tolist(), strict=True)

        return per_example(measure, examples, pad_id, token_budget, model.device, "loss")


def _nats_and_end(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of the response tokens, summed, (B,), and of the last of them, (B,)."""
    nats = token_nats_in_chunks(model, batch)  # (B, T-1)
    places = torch.arange(nats.shape[1], device=nats.device)  # (T-1,)
    last = (places * batch.predicted[:, 1:]).argmax(dim=1, keepdim=True)  # (B, 1)
    return nats.sum(dim=1), nats.gather(1, last).squeeze(1)


@functools.cache  # every batch is projected alike
def _projection(width: int, device: torch.device) -> Tensor:
    """Return the same random directions each time, (D, SKETCH), which keep the length of a vector in the mean."""
    return torch.randn(width, SKETCH, generator=torch.Generator().manual_seed(0)).to(device) / SKETCH**0.5


def nats_alone(
    model: PreTrainedModel, pad_id: int, start_id: int, examples: Sequence[Encoded], token_budget: int
) -> list[float]:
    """Return the cross-entropy of the same tokens with nothing before each response but the start token, in nats."""
    alone = [(index, turn) for index, example in enumerate(examples) for turn in responses_alone(example, start_id)]
    found = [0.0] * len(examples)
    values = nats(model, pad_id, [turn for _, turn in alone], token_budget)
    for (index, _), value in zip(alone, values, strict=True):
        found[index] += value
    return found
