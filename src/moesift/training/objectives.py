"""What the warm-up minimises beside the loss: pure functions of tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moesift.models.routers import Routing

def trash_shares(signals: Tensor, counted: Tensor) -> Tensor:
    """Return the summed trash share 1 - sigmoid(s) of the counted tokens, per layer, (L,) float32.

    Args:
        signals: log odds s, (L, B, T).
        counted: (B, T) bool.
    """
    return (torch.sigmoid(-signals) * counted).sum(dim=(1, 2))  # (L, B, T) -> (L,)


def load_balance(routing: Routing, real: Tensor) -> Tensor:
    """Return the load balance over the quality experts of each example, (B,); 1 when the load is even.

    The sequence-wise loss of DeepSeek-V3 (arXiv 2412.19437, eq. 17 to 20): sum over experts of f * P, with f the share
    of an example's dispatches that an expert got times their number, and P its mean softmax probability. Per example,
    so that the loss does not depend on how a batch is divided over passes and processes.

    Args:
        routing: one layer's decisions for N = B * T tokens.
        real: (B, T), 0 on padding.
    """
    examples, width = real.shape
    experts = routing.quality_logits.shape[-1]
    counted = real.reshape(-1, 1).float()  # (N, 1)
    # Trash-can experts of a partition are among the model's own: their dispatches are no load on the quality experts.
    sent = F.one_hot(routing.experts, int(routing.experts.max()) + 1)[..., :experts].sum(dim=1)  # (N, up to E)
    sent = F.pad(sent, (0, experts - sent.shape[-1])).float() * counted  # (N, E)
    probability = routing.quality_logits.softmax(dim=-1) * counted  # (N, E)
    load = sent.view(examples, width, experts).sum(dim=1)  # (B, E)
    load = load * experts / load.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = probability.view(examples, width, experts).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)
    return (load * mean).sum(dim=-1)  # (B, E) -> (B,)


def contrast(scores: Tensor, twin_scores: Tensor, margin: float) -> Tensor:
    """Return softplus(margin - (S(x) - S(x'))) for pairs of an example x and its corrupted negative x', (B,).

    The smooth form of the hinge of pairwise ranking (RankNet, Burges et al. 2005, with a margin): near zero once the
    example outscores its negative by more than the margin.

    Args:
        scores: S(x), quality scores of the examples, (B,), in nats of log odds.
        twin_scores: S(x') of their negatives, (B,).
        margin: in nats of log odds.
    """
    return F.softplus(margin - (scores - twin_scores))


def dual_update(multipliers: Tensor, shares: Tensor, target: float, rate: float) -> Tensor:
    """Return the multipliers after one step of dual ascent, mu + rate * (share - target), (L,).

    Signed: a layer that throws away too little is paid for more, so the target is met from both sides.
    """
    return multipliers + rate * (shares - target)


def penalties(multipliers: Tensor, shares: Tensor, target: float, damping: float) -> Tensor:
    """Return what a unit of trash share costs in each layer, mu + damping * (share - target), (L,).

    Dual ascent alone integrates the error, and with an optimizer that has momentum it swings around its target; the
    second term damps it (the proportional part of the PID Lagrangian, arXiv 2007.03964, eq. 4).
    """
    return multipliers + damping * (shares - target)
