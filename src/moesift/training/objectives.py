"""What warm-up and training minimise: pure functions of tensors."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from moesift.models.batches import Batch
from moesift.models.heads import hidden_states, logits
from moesift.models.routers import Routing

# Tokens that the head makes logits of at once: in float32, of a vocabulary of 100k, 100 MB instead of gigabytes.
CHUNK = 256


def response_nats(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy of each example's response tokens, summed, (B,) float32 in nats.

    Token t is predicted from the logits at t - 1; padding and instructions count nothing.

    Args:
        logits: (B, P, V) of the last P positions, at least `batch.predicting` of them: a model's head runs there only.
        batch: the tokens that the logits were computed from, (B, T).
    """
    first = batch.ids.shape[1] - logits.shape[1] + 1
    targets = batch.ids.masked_fill(~batch.response, -100)[:, first:]  # (B, P-1)
    nats = F.cross_entropy(logits[:, :-1].float().transpose(1, 2), targets, ignore_index=-100, reduction="none")
    return nats.sum(dim=1)  # (B, P-1) -> (B,)


def response_nats_in_chunks(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Do as `response_nats` with the logits of a model whose head is frozen, which never exist whole, (B,) float32."""
    return token_nats_in_chunks(model, batch).sum(dim=1)  # (B, T-1) -> (B,)


def token_nats_in_chunks(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the cross-entropy of each response token, (B, T-1) float32 in nats, 0 at what counts nothing.

    The head runs on the positions that predict a response token and on no other.
    """
    predicted = batch.predicted[:, 1:]  # (B, T-1)
    hidden = hidden_states(model, batch)[:, :-1][predicted]  # (n, D)
    nats = nats_in_chunks(hidden, batch.ids[:, 1:][predicted], lambda part: logits(model, part), CHUNK)  # (n,)
    return nats.new_zeros(predicted.shape).masked_scatter(predicted, nats)  # (B, T-1)


def nats_in_chunks(hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
    """Return the cross-entropy of each token, (n,) float32 in nats, with gradients for the hidden states alone.

    Args:
        hidden: (n, D).
        targets: (n,) int64.
        head: makes logits of hidden states, (c, D) -> (c, V).
        chunk: tokens c whose logits exist at once, those of the gradient included.
    """
    return _InChunks.apply(hidden, targets, head, chunk)


class _InChunks(torch.autograd.Function):
    """The slope of a token's loss depends on no other token: it is taken while its logits are at hand, and kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
        needed = ctx.needs_input_grad[0]
        nats, slopes = hidden.new_empty(len(hidden), dtype=torch.float32), []
        for start in range(0, len(hidden), chunk):
            part = hidden[start : start + chunk].detach().requires_grad_(needed)  # (c, D)
            with torch.set_grad_enabled(needed):
                own = F.cross_entropy(head(part).float(), targets[start : start + chunk], reduction="none")  # (c,)
            nats[start : start + chunk] = own.detach()
            if needed:
                slopes += torch.autograd.grad(own, part, torch.ones_like(own))
        if needed:
            ctx.save_for_backward(torch.cat(slopes) if slopes else torch.zeros_like(hidden))  # (n, D)
        return nats

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return (upstream[0].unsqueeze(1) * slopes).to(slopes.dtype), None, None, None  # (n, D)


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
    """Return softplus(margin - (S(x) - S(x'))) for pairs of an example x and its corrupted twin x', (B,).

    The smooth form of the hinge of pairwise ranking (RankNet, Burges et al. 2005, with a margin): near zero once the
    example outscores its twin by more than the margin.

    Args:
        scores: S(x), quality scores of the examples, (B,), in nats of log odds.
        twin_scores: S(x') of their twins, (B,).
        margin: in nats of log odds.
    """
    return F.softplus(margin - (scores - twin_scores))


def ascend(multipliers: Tensor, shares: Tensor, target: float, rate: float) -> Tensor:
    """Return the multipliers after one step of dual ascent, mu + rate * (share - target), (L,).

    Signed: a layer that throws away too little is paid for more, so the target is met from both sides.
    """
    return multipliers + rate * (shares - target)


def prices(multipliers: Tensor, shares: Tensor, target: float, damping: float) -> Tensor:
    """Return what a unit of trash share costs in each layer, mu + damping * (share - target), (L,).

    Dual ascent alone integrates the error, and with an optimizer that has momentum it swings around its target; the
    second term damps it (the proportional part of the PID Lagrangian, arXiv 2007.03964, eq. 4).
    """
    return multipliers + damping * (shares - target)
