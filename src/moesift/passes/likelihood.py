"""How likely a response is, with its instruction and without, and what the middle of the model reads of it.

Of an epoch of the warm-up it is that of the model with its trash-can experts as they were trained.
"""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from moesift.models.batches import Batch, mean_over, per_example
from moesift.models.chat import Encoded, responses_alone, start_of_text
from moesift.models.heads import middle_inputs
from moesift.models.losses import nll as nll_of
from moesift.models.losses import token_nll_in_chunks
from moesift.passes.reader import Reader, Values

HIDDEN = 128  # numbers that the hidden state is projected to


@torch.inference_mode()
def read(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> Values:
    """Return the columns of the pass, in two forward passes: with the instruction, and without."""
    pad_id, device = reader.tokenizer.pad_token_id, reader.model.device
    with middle_inputs(reader.model) as middle:

        def measure(batch: Batch) -> Iterator[tuple[float, float, list[float]]]:
            nll = token_nll_in_chunks(reader.model, batch)  # (B, T-1)
            mean = mean_over(middle().float(), batch.response.float())  # (B, D)
            hidden = mean @ _projection(mean.shape[1], mean.device)  # (B, HIDDEN)
            return zip(nll.sum(dim=1).tolist(), _last(nll, batch).tolist(), hidden.tolist(), strict=True)

        rows = per_example(measure, examples, pad_id, token_budget, device, "likelihood")
    nll, end, hidden = zip(*rows, strict=True) if rows else ((), (), ())
    return {"nll": nll, "nll_unconditional": _unconditional(reader, examples, token_budget), "nll_end": end} | {
        "hidden": hidden
    }


def _unconditional(reader: Reader, examples: Sequence[Encoded], token_budget: int) -> list[float]:
    """Return the same with nothing before each response but what begins a text."""
    start = start_of_text(reader.tokenizer)
    alone = [(index, turn) for index, example in enumerate(examples) for turn in responses_alone(example, *start)]
    sums = [0.0] * len(examples)
    values = nll_of(reader.model, reader.tokenizer.pad_token_id, [turn for _, turn in alone], token_budget)
    for (index, _), value in zip(alone, values, strict=True):
        sums[index] += value
    return sums


def _last(nll: Tensor, batch: Batch) -> Tensor:
    """Return the loss of the last response token of each example, (B,), of the losses of all tokens, (B, T-1)."""
    places = torch.arange(nll.shape[1], device=nll.device)  # (T-1,)
    last = (places * batch.predicted[:, 1:]).argmax(dim=1, keepdim=True)  # (B, 1)
    return nll.gather(1, last).squeeze(1)


@functools.cache  # every batch is projected alike
def _projection(width: int, device: torch.device) -> Tensor:
    """Return the same random directions each time, (D, HIDDEN), which keep the length of a vector in the mean.

    Distances stay nearly what they are (Johnson and Lindenstrauss 1984), in a tenth of the numbers and less.
    """
    return torch.randn(width, HIDDEN, generator=torch.Generator().manual_seed(0)).to(device) / HIDDEN**0.5
