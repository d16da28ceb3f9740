"""What a model makes of an example: its last hidden states after the final norm, pooled; the head does not run."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from moesift.models.batches import Batch
from moesift.models.chat import Encoded
from moesift.models.heads import hidden_states
from moesift.passes.pooling import last_token, mean, weighted
from moesift.passes.reader import Reader, Values, read_tensors


def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass, from one forward pass."""
    return pooled(reader, "representation", hidden_states, examples, token_budget)


@torch.inference_mode()
def pooled(
    reader: Reader,
    pass_name: str,
    states_of: Callable[[PreTrainedModel, Batch], Tensor],
    examples: Sequence[Encoded],
    token_budget: int,
) -> Values:
    """Return the three poolings of what `states_of` gives of a batch, (B, T, D): directions, of length 1, in float16.

    Methods compare them by their cosines alone. With length 1 no number overflows, which hidden states of known models
    do in float16, and rounding moves a cosine by less than 1e-3.
    """

    def measure(batch: Batch) -> list[Tensor]:
        states = states_of(reader.model, batch).float()
        return [F.normalize(pool(states, batch.real), dim=1).half() for pool in (weighted, mean, last_token)]

    return read_tensors(reader, pass_name, measure, examples, token_budget)
