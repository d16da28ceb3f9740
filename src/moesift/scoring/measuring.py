"""What the routers of a selector say of each of many examples; the head never runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from moesift.models.batches import Batch, mean_over, per_example
from moesift.models.chat import Encoded
from moesift.models.checkpoints import Selector
from moesift.models.routers import Routing

# What is kept of a layer's routing, of each example: a mean over its response tokens, or over all.
READINGS: dict[str, Callable[[Routing, Batch], Tensor]] = {
    # the log odds s, (B, 1)
    "signals": lambda routing, batch: mean_over(routing.signal, batch.response.float()),
    "signals_all": lambda routing, batch: mean_over(routing.signal, batch.real.float()),
    # what the router reads, (B, D)
    "inputs": lambda routing, batch: mean_over(routing.inputs, batch.response.float()),
    # the softmax over the E quality experts, (B, E): two examples that are sent to the same experts are near each other
    "usage": lambda routing, batch: mean_over(routing.quality_logits.softmax(dim=-1), batch.response.float()),
}


@torch.inference_mode()
def readings(
    selector: Selector, examples: Sequence[Encoded], quantities: Sequence[str], token_budget: int
) -> list[tuple[list[float], ...]]:
    """Return quantities of each example, all from one pass: of each the numbers of one routed layer after the other.

    Args:
        quantities: names in READINGS.
        token_budget: tokens in a batch, padding included; 0 leaves it to the kind of device.
    """

    def measure(batch: Batch) -> Iterator[tuple[Any, ...]]:
        def of(routing: Routing) -> list[Tensor]:
            return [READINGS[name](routing, batch) for name in quantities]

        by_quantity = zip(*selector.trash_can.read(batch.ids, of), strict=True)  # of each, L tensors (B, 1, D or E)
        return zip(*(torch.cat(layers, dim=1).tolist() for layers in by_quantity), strict=True)

    pad_id = selector.tokenizer.pad_token_id
    return per_example(measure, examples, pad_id, token_budget, selector.model.device, ", ".join(quantities))
