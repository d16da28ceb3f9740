"""The loss of a model on each of many examples."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from moesift.models.batches import Batch, per_example
from moesift.models.chat import Encoded, responses_alone
from moesift.training.objectives import response_nats_in_chunks, token_nats_in_chunks


@torch.inference_mode()
def nats(model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int) -> list[float]:
    """Return the cross-entropy of each example's response tokens, summed, in nats."""

    def measure(batch: Batch) -> Tensor:
        return response_nats_in_chunks(model, batch)  # (B,)

    return per_example(measure, examples, pad_id, token_budget, model.device, "loss")


@torch.inference_mode()
def nats_and_end(
    model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int
) -> list[tuple[float, float]]:
    """Return the same, and the cross-entropy of the last response token alone, from one pass."""

    def measure(batch: Batch) -> Tensor:
        nats = token_nats_in_chunks(model, batch)  # (B, T-1)
        places = torch.arange(nats.shape[1], device=nats.device)  # (T-1,)
        last = (places * batch.predicted[:, 1:]).argmax(dim=1, keepdim=True)  # (B, 1)
        return torch.cat([nats.sum(dim=1, keepdim=True), nats.gather(1, last)], dim=1)  # (B, 2)

    return per_example(measure, examples, pad_id, token_budget, model.device, "loss")


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
