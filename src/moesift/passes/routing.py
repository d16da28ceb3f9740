"""What the routers of a selector decide of each example; the head and the last experts never run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moesift.models.batches import Batch, mean_over
from moesift.models.chat import Encoded
from moesift.models.routers import Routing
from moesift.passes.reader import Reader, Values, read_tensors


@torch.inference_mode()
def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass from one forward pass: of each the numbers of one routed layer after the other."""
    trash_can = reader.trash_can
    assert trash_can is not None

    def measure(batch: Batch) -> list[Tensor]:
        by_layer = trash_can.read(batch.ids, lambda routing: _of_layer(routing, batch))  # L times two tensors
        return [torch.cat(layers, dim=1) for layers in zip(*by_layer, strict=True)]

    return read_tensors(reader, "routing", measure, examples, token_budget)


def _of_layer(routing: Routing, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return one layer's mean log odds over the response tokens and over all, (B, 1)."""
    return mean_over(routing.log_odds, batch.response.float()), mean_over(routing.log_odds, batch.real.float())
