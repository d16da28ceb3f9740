"""One optimizer step of the warm-up, and what carries over from step to step and from epoch to epoch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from moesift.models.batches import collate
from moesift.models.chat import Encoded
from moesift.models.checkpoints import Selector
from moesift.models.routers import Routing, log_odds
from moesift.models.losses import response_nll_in_chunks
from moesift.training.objectives import contrast, load_balance, trash_shares


@dataclass(frozen=True)
class Weights:
    """What a unit of each term costs.

    L = CE(response) + balance * load balance + sum over l of prices_l * trash share_l.
    """

    balance: float  # alpha
    penalties: Tensor  # (L,)


@dataclass(frozen=True)
class Terms:
    """The terms of the loss, unweighted."""

    nats: float  # cross-entropy per response token
    balance: float  # load balance over the quality experts, mean over layers and examples; 1 when even
    shares: Tensor  # (L,) mean trash share of the response tokens


def accumulate_gradients(
    selector: Selector, step: Sequence[Encoded], parts: Sequence[Sequence[Encoded]], weights: Weights
) -> Terms:
    """Run this process's forward and backward passes of one optimizer step, part by part.

    Each term is a sum over examples, divided by what the whole step holds, so how it is parted does not matter: the
    gradients and terms of all processes sum to those of the step.

    Args:
        step: the examples of the step, on whichever process.
        parts: those of this process, in the parts of one pass each; a part may be empty.
        weights: of the terms.
    """
    tokens = sum(example.predicted for example in step)
    examples = len(step)
    routers = selector.trash_can.routers
    penalties = weights.penalties.to(selector.model.device)
    nats, balance, shares = 0.0, 0.0, torch.zeros(len(routers))
    for part in parts:
        batch = collate(part, selector.tokenizer.pad_token_id).to(selector.model.device)
        part_nats = response_nll_in_chunks(selector.model, batch).sum() / tokens
        signals = selector.trash_can.log_odds(batch.ids.shape)  # (L, B, T)
        by_layer = [load_balance(selector.trash_can.routing[name], batch.real)[: len(part)] for name in routers]
        part_balance = torch.stack(by_layer).mean(dim=0).sum() / examples  # (L, B) -> ()
        part_shares = trash_shares(signals, batch.predicted) / tokens  # (L,)
        (part_nats + weights.balance * part_balance + (penalties * part_shares).sum()).backward()

        nats += part_nats.item()
        balance += part_balance.item()
        shares += part_shares.detach().cpu()
    return Terms(nats, balance, shares)


@dataclass(frozen=True)
class Pair:
    """An example and its corrupted negative."""

    example: Encoded
    negative: Encoded


def accumulate_contrast(
    selector: Selector, step: Sequence[Pair], parts: Sequence[Sequence[Pair]], margin: float
) -> tuple[float, Tensor]:
    """Run this process's passes of one optimizer step on pairs; gradients reach the trash rows alone.

    As with `accumulate_gradients`, what all processes find sums to what the step is.

    The selector's gate is open, so that what the routers read does not depend on the rows: the forward pass needs no
    gradient, and a step costs little more than scoring its examples.

    Args:
        step: the pairs of the step, on whichever process.
        parts: those of this process, in the parts of one pass each; a part may be empty.
        margin: by how much an example is to lead its negative, in nats of log odds.

    Returns:
        The contrast, mean over the pairs, and the mean trash share of the response tokens of both, (L,).
    """
    pairs = len(step)
    tokens = sum(pair.example.predicted + pair.negative.predicted for pair in step)
    found, shares = 0.0, torch.zeros(len(selector.trash_can.routers))
    for part in filter(None, parts):
        both = [pair.example for pair in part] + [pair.negative for pair in part]
        batch = collate(both, selector.tokenizer.pad_token_id).to(selector.model.device)  # (2P, T)
        counted = batch.predicted.flatten()  # (N,)

        def of_counted(routing: Routing, counted: Tensor = counted) -> tuple[Tensor, Tensor]:
            return routing.quality_logits[counted], routing.inputs[counted]  # (n, E), (n, D)

        with torch.no_grad():
            read = selector.trash_can.read(batch.ids, of_counted)
        rows = selector.trash_can.trash_rows().values()  # L times (T, D)
        signals = torch.stack(
            [log_odds(logits, F.linear(inputs, own)) for (logits, inputs), own in zip(read, rows, strict=True)]
        )  # (L, n)
        counts = batch.predicted.sum(dim=1)  # (2P,)
        means = torch.stack([own.mean() for own in signals.mean(dim=0).split(counts.tolist())])  # (n,) -> (2P,)
        part_contrast = contrast(means[: len(part)], means[len(part) :], margin).sum() / pairs
        part_contrast.backward()
        found += part_contrast.item()
        shares += torch.sigmoid(-signals.detach()).sum(dim=1).cpu() / tokens
    return found, shares


def summed(accelerator: Accelerator, trained: Iterable[nn.Parameter], numbers: Tensor) -> Tensor:
    """Sum the gradients of all processes in place, and return the sum of some numbers of each, (n,) on the CPU."""
    for parameter in trained:
        if parameter.grad is None:  # of a process whose parts of the step are all empty
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.copy_(accelerator.reduce(parameter.grad, "sum"))
    return accelerator.reduce(numbers.to(accelerator.device), "sum").cpu()


@dataclass(frozen=True)
class Progress:
    """What the next step needs of those before it, beside the optimizer's moments."""

    steps: int
    multipliers: Tensor  # (L,) of the dual ascent
    shares: Tensor  # (L,) trash shares of the last step


def to_tensors(progress: Progress) -> dict[str, Tensor]:
    """Return the progress as named tensors, for safetensors."""
    return {"steps": torch.tensor(progress.steps), "multipliers": progress.multipliers, "shares": progress.shares}


def from_tensors(tensors: dict[str, Tensor]) -> Progress:
    """Return the progress that `to_tensors` was given."""
    return Progress(int(tensors["steps"]), tensors["multipliers"], tensors["shares"])
