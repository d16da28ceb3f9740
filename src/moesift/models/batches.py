"""Examples of unlike length to padded batches."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moesift import progress
from moesift.models.chat import Encoded

# Tokens in a batch of a forward pass alone, where the configuration leaves it open: what a processor's cache holds
# (1,024 were 2.5 times as fast as 16,384 on a Xeon), and what fills a GPU.
TOKENS = {"cpu": 1024, "cuda": 16_384}


@dataclass(frozen=True)
class Batch:
    """B examples padded on the right to T tokens.

    Models are given no attention mask: they are causal, so what stands on the right is seen by no real token, and
    without a mask attention is computed for the triangle alone.
    """

    ids: Tensor  # (B, T) int64
    real: Tensor  # (B, T) int64, 0 on padding
    response: Tensor  # (B, T) bool, False on padding

    @property
    def predicting(self) -> int:
        """How many of the last positions have logits that count: from the one before the first response token on."""
        anywhere = self.response.any(dim=0).tolist()  # (T,)
        first = anywhere.index(True) if True in anywhere else len(anywhere) - 1
        return len(anywhere) - max(0, first - 1)

    @property
    def predicted(self) -> Tensor:
        """Which response tokens have a token before them, and so a prediction, (B, T) bool."""
        counted = self.response.clone()
        counted[:, 0] = False
        return counted

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        return Batch(self.ids.to(device), self.real.to(device), self.response.to(device))


def mean_over(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of what was found at each token over the tokens that count, (B, D).

    Args:
        values: of N = B * T tokens, in any shape that holds N * D numbers in this order.
        counted: 1 where a token counts, (B, T) float32.
    """
    total = torch.einsum("btd,bt->bd", values.reshape(*counted.shape, -1), counted)
    return total / counted.sum(dim=1, keepdim=True)


def collate(examples: Sequence[Encoded], pad_id: int) -> Batch:
    """Pad examples to the longest of them. No examples make one row of padding, which counts nothing."""
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


def by_token_budget(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Group examples, longest first, so that no batch exceeds `budget` tokens, padding included.

    Longest first pads least and runs out of memory at once or never. An example longer than the budget is alone.

    Returns:
        Indices into `lengths`; each index once.
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
        measure: called with each padded batch, on `device`; returns what holds numbers for each example of it.
        token_budget: tokens in a batch, padding included; 0 leaves it to the kind of device.
        name: of what is measured, for the progress that is shown.

    Raises:
        torch.OutOfMemoryError: an example alone does not fit.
    """

    def halved(indices: list[int]) -> list[Any]:
        try:
            return list(measure(collate([examples[index] for index in indices], pad_id).to(device)))
        except torch.OutOfMemoryError:
            if len(indices) == 1:
                raise
        # Behind the handler, since the error holds what the batch took.
        middle = len(indices) // 2
        return halved(indices[:middle]) + halved(indices[middle:])

    found: list[Any] = [None] * len(examples)
    lengths = [len(example.ids) for example in examples]
    batches = by_token_budget(lengths, token_budget or TOKENS[device.type])
    for indices in progress.steps(batches, [sum(lengths[i] for i in batch) for batch in batches], name):
        for index, value in zip(indices, halved(indices), strict=True):
            found[index] = value
    return found


def shuffled_batches(examples: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return one epoch of optimizer steps: every example once, in an order set by seed and epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(examples).tolist()
    return [order[start : start + batch_size] for start in range(0, examples, batch_size)]


def micro_batches(
    batch: Sequence[int], lengths: Sequence[int], micro_batch: int, process: int, processes: int
) -> list[list[int]]:
    """Return what one process computes of an optimizer step, in parts of at most `micro_batch` examples.

    Every process gets equally many parts, as collective gradient reduction demands; a part may be empty. Examples of
    like length go together.
    """
    ordered = sorted(batch, key=lambda index: (lengths[index], index))
    count = -(-len(ordered) // (micro_batch * processes))  # parts per process, rounded up
    bounds = [part * len(ordered) // (count * processes) for part in range(count * processes + 1)]
    return [ordered[start:end] for start, end in itertools.pairwise(bounds)][process::processes]


def micro_batches_by_tokens(
    batch: Sequence[int], lengths: Sequence[int], micro_batch: int, process: int, processes: int
) -> list[list[int]]:
    """Return the same as `micro_batches`, in parts of as many tokens instead of as many examples, longest first.

    A part has at most as many tokens, padding included, as `micro_batch` examples of the step's longest: that is what
    the first part may need, and short examples fill the others to it. So there are fewer passes, where nothing but a
    pass's tokens takes memory: a training's logits would.

    Args:
        batch: the step's examples, indices into `lengths`; each is in one part of one process.
        lengths: tokens of all examples.
        micro_batch: examples of the longest kind that one pass may hold.
        process: whose parts.
        processes: how many share the step.
    """
    own = [lengths[index] for index in batch]
    parts = by_token_budget(own, micro_batch * max(own))
    while len(parts) % processes and len(longest := max(parts, key=lambda part: own[part[0]] * len(part))) > 1:
        middle = len(longest) // 2
        parts.remove(longest)
        parts += [longest[:middle], longest[middle:]]
    parts.sort(key=lambda part: -own[part[0]] * len(part))
    parts += [[]] * (-len(parts) % processes)
    return [[batch[index] for index in part] for part in parts[process::processes]]
