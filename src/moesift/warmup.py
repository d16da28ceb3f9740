"""One optimizer step of the warm-up, and what carries over from step to step and from epoch to epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moesift.batches import collate
from moesift.chat import Encoded
from moesift.checkpoints import Selector
from moesift.objectives import contrast, layer_means, load_balance, response_nats, trash_shares


@dataclass(frozen=True)
class Sample:
    """An example to train on and, for the contrast, its corrupted twin where it has one."""

    example: Encoded
    twin: Encoded | None = None


@dataclass(frozen=True)
class Weights:
    """What a unit of each term costs.

    L = nats * CE(response) + balance * load balance + sum over l of prices_l * trash share_l + contrast * contrast.
    """

    nats: float
    balance: float  # alpha
    prices: Tensor  # (L,)
    contrast: float


@dataclass(frozen=True)
class Terms:
    """The terms of the loss, unweighted."""

    nats: float  # cross-entropy per response token
    balance: float  # load balance over the quality experts, mean over layers and examples; 1 when even
    shares: Tensor  # (L,) mean trash share of the response tokens
    contrast: float  # mean over the pairs of example and twin


def accumulate_gradients(
    selector: Selector, parts: Sequence[Sequence[Sample]], weights: Weights, margin: float
) -> Terms:
    """Run one optimizer step's forward and backward passes, part by part; gradients are those of the whole step.

    Each term is a sum over examples, divided by what the whole step holds, so how it is parted does not matter. A twin
    takes part in the contrast alone.

    Args:
        parts: the samples of the step, in the parts of one pass each; a part may be empty.
        weights: of the terms.
        margin: of the contrast, in nats of log odds.
    """
    samples = [sample for part in parts for sample in part]
    tokens = sum(sample.example.predicted for sample in samples)
    pairs = max(1, sum(sample.twin is not None for sample in samples))
    routers = selector.trash_can.routers
    prices = weights.prices.to(selector.model.device)
    nats, balance, contrasted, shares = 0.0, 0.0, 0.0, torch.zeros(len(routers))
    for part in parts:
        paired = [row for row, sample in enumerate(part) if sample.twin is not None]
        examples, own = [sample.example for sample in part], len(part)
        twins = [sample.twin for sample in part if sample.twin is not None]
        batch = collate([*examples, *twins], selector.tokenizer.pad_token_id).to(selector.model.device)
        logits = selector.model(
            batch.ids, attention_mask=batch.attention, use_cache=False, logits_to_keep=batch.predicting
        ).logits  # (B, P, V)
        signals = selector.trash_can.signals(batch.ids.shape)  # (L, B, T)
        counted = batch.response.clone()  # (B, T)
        counted[:, 0] = False  # the tokens that have a prediction, as in the cross-entropy

        part_nats = response_nats(logits[:own], batch.first(own)).sum() / tokens
        by_layer = [load_balance(selector.trash_can.routing[name], batch.attention)[:own] for name in routers]
        part_balance = torch.stack(by_layer).mean(dim=0).sum() / len(samples)  # (L, own) -> ()
        part_shares = trash_shares(signals[:, :own], counted[:own]) / tokens  # (L,)
        loss = weights.nats * part_nats + weights.balance * part_balance + (prices * part_shares).sum()
        if twins:
            scores = layer_means(signals, counted).mean(dim=1)  # (B, L) -> (B,)
            part_contrast = contrast(scores[paired], scores[own:], margin).sum() / pairs
            loss = loss + weights.contrast * part_contrast
            contrasted += part_contrast.item()
        loss.backward()

        nats += part_nats.item()
        balance += part_balance.item()
        shares += part_shares.detach().cpu()
    return Terms(nats, balance, shares, contrasted)


@dataclass(frozen=True)
class Progress:
    """What the next step needs of those before it, beside the optimizer's moments."""

    steps: int
    multipliers: Tensor  # (L,) of the dual ascent
    shares: Tensor  # (L,) trash shares of the last step


def to_tensors(
    progress: Progress, optimizer: torch.optim.Optimizer, trained: dict[str, torch.nn.Parameter]
) -> dict[str, Tensor]:
    """Return progress and Adam's moments as named tensors, for safetensors."""
    moments = {
        f"{key}/{name}": value.cpu()
        for name, parameter in trained.items()
        for key, value in optimizer.state[parameter].items()
    }
    own = {"steps": torch.tensor(progress.steps), "multipliers": progress.multipliers, "shares": progress.shares}
    return own | moments


def from_tensors(
    state: dict[str, Tensor], optimizer: torch.optim.Optimizer, trained: dict[str, torch.nn.Parameter]
) -> Progress:
    """Put the moments of `to_tensors` back into the optimizer and return the progress."""
    for name, parameter in trained.items():
        optimizer.state[parameter] = {
            "step": state[f"step/{name}"],
            "exp_avg": state[f"exp_avg/{name}"].to(parameter.device),
            "exp_avg_sq": state[f"exp_avg_sq/{name}"].to(parameter.device),
        }
    return Progress(int(state["steps"]), state["multipliers"], state["shares"])
