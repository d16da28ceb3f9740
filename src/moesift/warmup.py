"""One optimizer step of the warm-up, and what carries over from step to step and from epoch to epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moesift.batches import collate
from moesift.chat import Encoded
from moesift.checkpoints import Selector
from moesift.objectives import load_balance, response_nats, trash_shares


@dataclass(frozen=True)
class Terms:
    """The terms of the loss L = CE(response) + alpha * balance + sum over l of price_l * (trash share_l - rho)."""

    nats: float  # cross-entropy per response token
    balance: float  # load balance over the quality experts, mean over layers and examples; 1 when even
    shares: Tensor  # (L,) mean trash share of the response tokens


def accumulate_gradients(
    selector: Selector, parts: Sequence[Sequence[Encoded]], prices: Tensor, balance_weight: float
) -> Terms:
    """Run one optimizer step's forward and backward passes, part by part; gradients are those of the whole step.

    Each term is a sum over examples, divided by what the whole step holds, so how it is parted does not matter.

    Args:
        parts: the examples of the step, in the parts of one pass each.
        prices: what a unit of trash share costs, (L,).
        balance_weight: alpha.
    """
    tokens = sum(example.predicted for part in parts for example in part)
    examples = sum(len(part) for part in parts)
    routers = selector.trash_can.routers
    nats, balance, shares = 0.0, 0.0, torch.zeros(len(routers))
    for part in parts:
        batch = collate(part, selector.tokenizer.pad_token_id).to(selector.model.device)
        logits = selector.model(batch.ids, attention_mask=batch.attention, use_cache=False).logits  # (B, T, V)
        signals = selector.trash_can.signals(batch.ids.shape)  # (L, B, T)
        counted = batch.response.clone()  # (B, T)
        counted[:, 0] = False  # the tokens that have a prediction, as in the cross-entropy

        part_nats = response_nats(logits, batch).sum() / tokens
        # An empty part is a row of padding, and that is no example.
        by_layer = [load_balance(selector.trash_can.routing[name], batch.attention)[: len(part)] for name in routers]
        part_balance = torch.stack(by_layer).mean(dim=0).sum() / examples  # (L, B) -> ()
        part_shares = trash_shares(signals, counted) / tokens  # (L,)
        budget = (prices.to(part_shares.device) * part_shares).sum()
        (part_nats + balance_weight * part_balance + budget).backward()

        nats += part_nats.item()
        balance += part_balance.item()
        shares += part_shares.detach().cpu()
    return Terms(nats, balance, shares)


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
