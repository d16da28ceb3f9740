"""One optimizer step of the warm-up, and the state that one step hands to the next.

The loss of each objective:

budget        NLL(response) + alpha * load balance + sum over layers l of penalty_l * (trash share_l - rho). The penalty
              coefficients are signed. They follow the trash shares of the step before by dual ascent with damping.
lm            NLL(response) + alpha * load balance
contrastive   softplus(margin - (S(x) - S(x'))), where S is the quality score and x' the corrupted negative of x. The
              trash-can experts are left out of the model's own computation, and only their rows are trained.

Every term is a sum over examples divided by what the whole step has, so the division of a step into passes and
processes does not change it: the terms and gradients of all passes and processes sum to those of the step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from moesift.config import Warmup
from moesift.models.batches import collate
from moesift.models.chat import Encoded
from moesift.models.checkpoints import Selector
from moesift.models.losses import response_nll_in_chunks
from moesift.models.routers import Routing, log_odds
from moesift.training.objectives import contrast, dual_update, load_balance, penalties, trash_shares
from moesift.training.schedule import MAX_GRADIENT_NORM

RISING_STEPS = 20  # first steps of the warm-up, in which the learning rate rises; it is constant after them


class Pair(NamedTuple):
    """An example and its corrupted negative."""

    example: Encoded
    negative: Encoded


class Progress(NamedTuple):
    """What a step needs of the steps before it, beside the optimizer's moments."""

    steps: Tensor  # () int64, how many there were
    multipliers: Tensor  # (L,) of the dual ascent
    shares: Tensor  # (L,) trash shares of the last step


def progress_of(tensors: Mapping[str, Tensor]) -> Progress:
    """Return the progress whose `_asdict` was saved among some tensors."""
    return Progress(*(tensors[name] for name in Progress._fields))


def take_step(
    accelerator: Accelerator,
    selector: Selector,
    optimizer: torch.optim.Optimizer,
    trained: Mapping[str, nn.Parameter],
    step: Sequence[Any],
    parts: Sequence[Sequence[Any]],
    warmup: Warmup,
    progress: Progress,
) -> tuple[dict[str, Any], Progress]:
    """Take an optimizer step, and return the record of it and the progress after it.

    Args:
        accelerator: of `training.accelerator.launched`.
        trained: the parameters that the optimizer updates, by name.
        step: the samples of the step: pairs if the objective is `contrastive`, else examples.
        parts: the samples that this process computes, one list for each pass; a list may be empty.
        warmup: objective, balance, learning_rate, trash_share, dual_rate, damping and margin.
        progress: after the step before.
    """
    coefficients = torch.zeros_like(progress.multipliers)  # (L,)
    if warmup.objective == "budget":
        coefficients = penalties(progress.multipliers, progress.shares, warmup.trash_share, warmup.damping)
    if warmup.objective == "contrastive":
        losses, shares = accumulate_contrast(selector, step, parts, warmup.margin)
    else:
        losses, shares = accumulate_nll(selector, step, parts, warmup.balance, coefficients)
    totals = _sum_over_processes(accelerator, trained, torch.tensor([*losses.values(), *shares]))
    losses, shares = dict(zip(losses, totals.tolist(), strict=False)), totals[len(losses) :]
    if warmup.objective != "contrastive":
        losses["budget"] = (coefficients * (shares - warmup.trash_share)).sum().item()
    norm = nn.utils.clip_grad_norm_(trained.values(), MAX_GRADIENT_NORM).item()
    optimizer.param_groups[0]["lr"] = warmup.learning_rate * min(1.0, (progress.steps.item() + 1) / RISING_STEPS)
    optimizer.step()
    optimizer.zero_grad()
    multipliers = progress.multipliers
    if warmup.objective == "budget":
        multipliers = dual_update(multipliers, shares, warmup.trash_share, warmup.dual_rate)
    record = {"step": progress.steps.item(), **losses, "trash_shares": shares.tolist()}
    record |= {"multipliers": progress.multipliers.tolist(), "gradient_norm": norm}
    return record, Progress(progress.steps + 1, multipliers, shares)


def accumulate_nll(
    selector: Selector,
    step: Sequence[Encoded],
    parts: Sequence[Sequence[Encoded]],
    balance: float,
    coefficients: Tensor,
) -> tuple[dict[str, float], Tensor]:
    """Compute this process's gradients of NLL + balance * load balance + sum of coefficients * trash shares.

    Args:
        step: the examples of the step, of all processes.
        parts: those of this process, one list for each pass; a list may be empty.
        balance: alpha.
        coefficients: penalty coefficient of each layer, (L,).

    Returns:
        This process's parts of the losses without their coefficients: `nll` per response token, and `balance`, the load
        balance over the quality experts, mean over layers and examples; and of the mean trash shares of the response
        tokens, (L,).
    """
    tokens = sum(example.predicted for example in step)
    routers = selector.trash_can.routers
    coefficients = coefficients.to(selector.model.device)
    losses, shares = {"nll": 0.0, "balance": 0.0}, torch.zeros(len(routers))
    for part in parts:
        batch = collate(part, selector.tokenizer.pad_token_id).to(selector.model.device)
        nll = response_nll_in_chunks(selector.model, batch).sum() / tokens
        odds = selector.trash_can.log_odds(batch.ids.shape)  # (L, B, T)
        by_layer = [load_balance(selector.trash_can.routing[name], batch.real)[: len(part)] for name in routers]
        load = torch.stack(by_layer).mean(dim=0).sum() / len(step)  # (L, B) -> ()
        part_shares = trash_shares(odds, batch.predicted) / tokens  # (L,)
        (nll + balance * load + (coefficients * part_shares).sum()).backward()
        losses["nll"] += nll.item()
        losses["balance"] += load.item()
        shares += part_shares.detach().cpu()
    return losses, shares


def accumulate_contrast(
    selector: Selector, step: Sequence[Pair], parts: Sequence[Sequence[Pair]], margin: float
) -> tuple[dict[str, float], Tensor]:
    """Compute this process's gradients of the contrast, for the trash rows only.

    The selector's gate is open, so the inputs of the routers do not depend on the rows. The forward pass needs no
    gradient, and a step costs little more than reading its examples.

    Args:
        step: the pairs of the step, of all processes.
        parts: those of this process, one list for each pass; a list may be empty.
        margin: by which an example's score should exceed its negative's, in nats of log odds.

    Returns:
        This process's parts of the `contrast`, mean over the pairs, and of the mean trash shares of the response tokens
        of examples and negatives, (L,).
    """
    tokens = sum(pair.example.predicted + pair.negative.predicted for pair in step)
    total, shares = 0.0, torch.zeros(len(selector.trash_can.routers))
    for part in filter(None, parts):
        both = [pair.example for pair in part] + [pair.negative for pair in part]
        batch = collate(both, selector.tokenizer.pad_token_id).to(selector.model.device)  # (2P, T)
        counted = batch.predicted.flatten()  # (N,)

        def of_counted(routing: Routing, counted: Tensor = counted) -> tuple[Tensor, Tensor]:
            return routing.quality_logits[counted], routing.router_inputs[counted]  # (n, E), (n, D)

        with torch.no_grad():
            layers = selector.trash_can.read(batch.ids, of_counted)
        trash_rows = selector.trash_can.trash_rows().values()  # L times (T, D)
        odds = torch.stack(
            [
                log_odds(logits, F.linear(inputs, rows))
                for (logits, inputs), rows in zip(layers, trash_rows, strict=True)
            ]
        )  # (L, n)
        counts = batch.predicted.sum(dim=1).tolist()  # of the 2P examples
        scores = torch.stack([example.mean() for example in odds.mean(dim=0).split(counts)])  # (n,) -> (2P,)
        loss = contrast(scores[: len(part)], scores[len(part) :], margin).sum() / len(step)
        loss.backward()
        total += loss.item()
        shares += torch.sigmoid(-odds.detach()).sum(dim=1).cpu() / tokens
    return {"contrast": total}, shares


def _sum_over_processes(accelerator: Accelerator, trained: Mapping[str, nn.Parameter], numbers: Tensor) -> Tensor:
    """Sum the gradients of all processes in place, and return the sum of each one's numbers, (n,) on the CPU."""
    for parameter in trained.values():
        if parameter.grad is None:  # all passes of this process were empty
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.copy_(accelerator.reduce(parameter.grad, "sum"))
    return accelerator.reduce(numbers.to(accelerator.device), "sum").cpu()
