"""What the routers of a selector say of each of many examples; the head never runs."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from moesift.models.batches import Batch, mean_over, per_example
from moesift.models.chat import Encoded
from moesift.models.checkpoints import Selector
from moesift.models.routers import Routing


@torch.inference_mode()
def signals(
    selector: Selector, examples: Sequence[Encoded], tokens: Literal["response", "all"], token_budget: int
) -> list[list[float]]:
    """Return each routed layer's mean log odds s of each example, over response tokens or all."""

    def measure(batch: Batch) -> Tensor:
        counted = (batch.response if tokens == "response" else batch.real).float()  # (B, T)

        def mean(routing: Routing) -> Tensor:
            return (routing.signal.view_as(counted) * counted).sum(dim=1) / counted.sum(dim=1)  # (B,)

        return torch.stack(selector.trash_can.read(batch.ids, mean), dim=1)  # (B, L)

    pad_id = selector.tokenizer.pad_token_id
    return per_example(measure, examples, pad_id, token_budget, selector.model.device, "signals")


@torch.inference_mode()
def inputs(selector: Selector, examples: Sequence[Encoded], token_budget: int) -> list[list[float]]:
    """Return what each routed layer's router reads of each example: L * D numbers, means over its response tokens."""

    def measure(batch: Batch) -> Tensor:
        counted = batch.response.float()  # (B, T)

        def mean(routing: Routing) -> Tensor:
            return mean_over(routing.inputs, counted)  # (B, D)

        return torch.cat(selector.trash_can.read(batch.ids, mean), dim=1)  # (B, L * D)

    pad_id = selector.tokenizer.pad_token_id
    return per_example(measure, examples, pad_id, token_budget, selector.model.device, "inputs")


@torch.inference_mode()
def usage(selector: Selector, examples: Sequence[Encoded], token_budget: int) -> list[list[float]]:
    """Return how each example uses the experts: each routed layer's mean softmax over its E quality experts.

    L * E numbers, over the response tokens. Two examples that are sent to the same experts are near each other.
    """

    def measure(batch: Batch) -> Tensor:
        counted = batch.response.float()  # (B, T)

        def mean(routing: Routing) -> Tensor:
            return mean_over(routing.quality_logits.softmax(dim=-1), counted)  # (B, E)

        return torch.cat(selector.trash_can.read(batch.ids, mean), dim=1)  # (B, L * E)

    pad_id = selector.tokenizer.pad_token_id
    return per_example(measure, examples, pad_id, token_budget, selector.model.device, "usage")
