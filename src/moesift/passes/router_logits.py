"""Which experts the routers of a model, as it came, would send an example to; the last experts never run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from moesift.models.batches import Batch
from moesift.models.chat import Encoded
from moesift.models.routers import find_routers, read_routers
from moesift.passes.pooling import last_token, weighted
from moesift.passes.reader import Reader, Values, read_tensors


@torch.inference_mode()
def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass, from one forward pass: the logits of one layer's experts after the other's.

    Raises:
        UserError: the model has no router.
    """
    routers = find_routers(reader.model)

    def measure(batch: Batch) -> list[Tensor]:
        def pooled(_: str, logits: Tensor) -> tuple[Tensor, Tensor]:
            return weighted(logits, batch.real), last_token(logits, batch.real)

        by_layer = read_routers(reader.model.base_model, routers, batch.ids, pooled)  # L times two tensors, (B, E)
        return [torch.cat(layers, dim=1) for layers in zip(*by_layer, strict=True)]

    return read_tensors(reader, "router_logits", measure, examples, token_budget)
