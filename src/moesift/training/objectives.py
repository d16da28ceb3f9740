"""The terms of the warm-up's loss beside the language-model loss, and the dual update: pure functions of tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from moesift.models.routers import Routing


def trash_shares(log_odds: Tensor, counted: Tensor) -> Tensor:
    """Return each layer's trash share 1 - sigmoid(s), summed over the counted tokens, (L,) float32.

    Args:
        log_odds: s, (L, B, T).
        counted: (B, T) bool.
    """
    return (torch.sigmoid(-log_odds) * counted).sum(dim=(1, 2))  # (L, B, T) -> (L,)


def load_balance(routing: Routing, real: Tensor) -> Tensor:
    """Return the load balance over the quality experts of each example, (B,); 1 when the load is even.

    The sequence-wise loss of DeepSeek-V3 (arXiv 2412.19437, eq. 17 to 20): the sum over the experts of f * P, where f
    is an expert's share of an example's dispatches times the number of experts, and P its mean softmax probability. It
    is per example, so that it does not depend on how a batch is divided into passes and processes.

    Args:
        routing: one layer's decisions on N = B * T tokens.
        real: (B, T), 0 on padding.
    """
    examples, width = real.shape
    experts = routing.quality_logits.shape[-1]
    counted = real.reshape(-1, 1).float()  # (N, 1)
    # The trash cans of a partition are among the model's own experts; dispatches to them are no load here.
    dispatches = F.one_hot(routing.experts, int(routing.experts.max()) + 1)[..., :experts].sum(dim=1)  # (N, up to E)
    dispatches = F.pad(dispatches, (0, experts - dispatches.shape[-1])).float() * counted  # (N, E)
    probability = routing.quality_logits.softmax(dim=-1) * counted  # (N, E)
    load = dispatches.view(examples, width, experts).sum(dim=1)  # (B, E)
    load = load * experts / load.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = probability.view(examples, width, experts).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)
    return (load * mean).sum(dim=-1)  # (B, E) -> (B,)


def contrast(scores: Tensor, negative_scores: Tensor, margin: float) -> Tensor:
    """Return softplus(margin - (S(x) - S(x'))) for pairs of an example x and its corrupted negative x', (B,).

    A smooth hinge for pairwise ranking (RankNet, Burges et al. 2005, with a margin): near zero once the example's score
    exceeds its negative's by more than the margin.

    Args:
        scores: quality scores S(x) of the examples, (B,), in nats of log odds.
        negative_scores: S(x') of their negatives, (B,).
        margin: in nats of log odds.
    """
    return F.softplus(margin - (scores - negative_scores))


def dual_update(multipliers: Tensor, shares: Tensor, target: float, rate: float) -> Tensor:
    """Return the multipliers after one step of dual ascent, mu + rate * (share - target), (L,).

    They are signed: below the target the trash share is rewarded, so it approaches the target from both sides.
    """
    return multipliers + rate * (shares - target)


def penalties(multipliers: Tensor, shares: Tensor, target: float, damping: float) -> Tensor:
    """Return the penalty coefficient of each layer's trash share, mu + damping * (share - target), (L,).

    Dual ascent alone integrates the error and oscillates around the target when the optimizer has momentum. The second
    term damps it (the proportional part of the PID Lagrangian, arXiv 2007.03964, eq. 4).
    """
    return multipliers + damping * (shares - target)
