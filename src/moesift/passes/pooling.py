"""One vector of an example from those of its tokens, prompt and response alike; padding on the right does not count.

Each takes `states` of N = B * T tokens, in any shape that holds N * D numbers in this order, and `real`, (B, T), which
is 0 on padding, and returns (B, D) float32.
"""

import torch
from torch import Tensor

from moesift.models.batches import mean_over


def weighted(states: Tensor, real: Tensor) -> Tensor:
    """Return Σ w_i h_i with w_i = i / Σ_j j over the places of the tokens: later ones have read more (SGPT, RDS+)."""
    return mean_over(states.float(), (real.cumsum(dim=1) * real).float())


def mean(states: Tensor, real: Tensor) -> Tensor:
    """Return the mean."""
    return mean_over(states.float(), real.float())


def last_token(states: Tensor, real: Tensor) -> Tensor:
    """Return that of the last token."""
    each = torch.arange(len(real), device=real.device)
    return states.reshape(*real.shape, -1)[each, real.sum(dim=1) - 1].float()
