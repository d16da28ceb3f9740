"""Examples of different lengths in padded batches."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from moesift import progress
from moesift.errors import UserError
from moesift.models.chat import Encoded

# Default number of tokens in a batch of a forward pass without gradients: what fits a processor's cache (1,024 were 2.5
# times as fast as 16,384 on a Xeon), and what fills a GPU.
TOKENS = {"cpu": 1024, "cuda": 16_384}


@dataclass(frozen=True)
class Batch:
    """B examples, padded on the right to T tokens.

    Models get no attention mask. They are causal, so no real token attends to the padding on its right, and without a
    mask attention is computed for the lower triangle alone.
    """

    ids: Tensor  # (B, T) int64
    real: Tensor  # (B, T) int64, 0 on padding
    response: Tensor  # (B, T) bool, False on padding

    @property
    def predicting(self) -> int:
        """How many of the last positions need logits: from the one before the first response token on."""
        has_response = self.response.any(dim=0).tolist()  # (T,)
        first = has_response.index(True) if True in has_response else len(has_response) - 1
        return len(has_response) - max(0, first - 1)

    @property
    def predicted(self) -> Tensor:
        """Which response tokens have a token before them, and so a prediction, (B, T) bool."""
        predicted = self.response.clone()
        predicted[:, 0] = False
        return predicted

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(self.ids.to(device), self.real.to(device), self.response.to(device))


def mean_over(values: Tensor, counted: Tensor) -> Tensor:
    """Return each example's mean of a value per token over the tokens that count, (B, D).

    Args:
        values: of N = B * T tokens, in any shape that holds N * D numbers in this order.
        counted: 1 where a token counts, (B, T) float32.
    """
    total = torch.einsum("btd,bt->bd", values.reshape(*counted.shape, -1), counted)
    return total / counted.sum(dim=1, keepdim=True)


def collate(examples: Sequence[Encoded], pad_id: int) -> Batch:
    """Pad examples to the longest of them. Without examples return one row of padding, which counts nowhere."""
    if not examples:
        return Batch(torch.tensor([[pad_id]]), torch.ones((1, 1), dtype=torch.int64), torch.zeros((1, 1)).bool())
    width = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), width), pad_id)
    real = torch.zeros((len(examples), width), dtype=torch.int64)
    response = torch.zeros((len(examples), width), dtype=torch.bool)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids, dtype=torch.int64)
        real[row, :length] = 1
        response[row, :length] = torch.tensor(example.response, dtype=torch.bool)
    return Batch(ids, real, response)


def positions_of(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model was made for; None where its configuration does not say."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return module.num_embeddings - module.padding_idx - 1  # RoBERTa's first are of no token
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def require_positions(model: PreTrainedModel, examples: Iterable[Encoded]) -> None:
    """Check that a model has a position for each token.

    Rotary positions compute beyond what a model was trained for, and mean little there; learned ones do not exist.

    Raises:
        UserError: an example has more tokens than the model has positions.
    """
    positions = positions_of(model)
    longest = max((len(example.ids) for example in examples), default=0)
    if positions is not None and longest > positions:
        raise UserError(
            f"data.max_length: an example has {longest:,} tokens, and {model.name_or_path} has {positions:,} "
            f"positions; set it to {positions} or less, or take another model"
        )


def by_token_budget(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group examples, longest first, into batches of at most `budget` tokens, padding included.

    Longest first needs the least padding, and runs out of memory at the first batch or never. An example that is longer
    than the budget is alone in its batch.

    Returns:
        Indices into `lengths`, each once.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        # The first of a batch is its longest: it sets the width.
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def per_example(
    measure: Callable[[Batch], Iterable[Any]],
    examples: Sequence[Encoded],
    pad_id: int,
    token_budget: int,
    device: torch.device,
    name: str,
) -> list[Any]:
    """Return what `measure` gives for each example, in their order.

    A batch that does not fit into a GPU's memory is halved until it does.

    Args:
        measure: called with each padded batch, on `device`; returns one value for each example of the batch.
        token_budget: tokens in a batch, padding included; 0 takes the default of the device.
        name: of the quantity, for the progress bar.

    Raises:
        torch.OutOfMemoryError: a single example does not fit.
    """

    def halve_until_it_fits(indices: list[int]) -> list[Any]:
        try:
            return list(measure(collate([examples[index] for index in indices], pad_id).to(device)))
        except torch.OutOfMemoryError:
            if len(indices) == 1:
                raise
        # Outside of the handler, because the error keeps the memory of the batch alive.
        middle = len(indices) // 2
        return halve_until_it_fits(indices[:middle]) + halve_until_it_fits(indices[middle:])

    values: list[Any] = [None] * len(examples)
    lengths = [len(example.ids) for example in examples]
    batches = by_token_budget(lengths, token_budget or TOKENS[device.type])
    for indices in progress.steps(batches, [sum(lengths[i] for i in batch) for batch in batches], name):
        for index, value in zip(indices, halve_until_it_fits(indices), strict=True):
            values[index] = value
    return values


def shuffled_batches(examples: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return one epoch of optimizer steps: every example once, in an order set by seed and epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(examples).tolist()
    return [order[start : start + batch_size] for start in range(0, examples, batch_size)]


def micro_batches(
    batch: Sequence[int], lengths: Sequence[int], micro_batch: int, process: int, processes: int
) -> list[list[int]]:
    """Return one process's part of an optimizer step, in micro-batches of at most `micro_batch` examples.

    Every process gets the same number of micro-batches, because gradient reduction is collective; some may be empty.
    Examples of similar length go together.
    """
    ordered = sorted(batch, key=lambda index: (lengths[index], index))
    count = -(-len(ordered) // (micro_batch * processes))  # of each process, rounded up
    bounds = [part * len(ordered) // (count * processes) for part in range(count * processes + 1)]
    return [ordered[start:end] for start, end in itertools.pairwise(bounds)][process::processes]


def micro_batches_by_tokens(
    batch: Sequence[int], lengths: Sequence[int], micro_batch: int, process: int, processes: int
) -> list[list[int]]:
    """Do as `micro_batches`, with micro-batches of equally many tokens instead of examples, longest first.

    Each holds at most as many tokens, padding included, as `micro_batch` examples of the step's longest length. Short
    examples fill it up, which saves passes. It suits steps whose memory depends on tokens alone, as in the warm-up; in
    LoRA tuning the logits need memory too.

    Args:
        batch: the step's examples, indices into `lengths`; each is in one micro-batch of one process.
        lengths: tokens of all examples.
        micro_batch: examples of the longest length that one pass may hold.
        process: whose micro-batches.
        processes: that share the step.
    """
    sizes = [lengths[index] for index in batch]
    parts = by_token_budget(sizes, micro_batch * max(sizes))
    while len(parts) % processes and len(largest := max(parts, key=lambda part: sizes[part[0]] * len(part))) > 1:
        middle = len(largest) // 2
        parts.remove(largest)
        parts += [largest[:middle], largest[middle:]]
    parts.sort(key=lambda part: -sizes[part[0]] * len(part))
    parts += [[]] * (-len(parts) % processes)
    return [[batch[index] for index in part] for part in parts[process::processes]]
