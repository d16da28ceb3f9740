"""The loss of a language model on response tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from moesift.models.batches import Batch, per_example
from moesift.models.chat import Encoded
from moesift.models.heads import hidden_states, logits

# Tokens that the head makes logits of at once: in float32, of a vocabulary of 100k, 100 MB instead of gigabytes.
CHUNK = 256


def response_nll(logits: Tensor, batch: Batch) -> Tensor:
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


def response_nll_in_chunks(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Do as `response_nll` with the logits of a model whose head is frozen, which never exist whole, (B,) float32."""
    return token_nll_in_chunks(model, batch).sum(dim=1)  # (B, T-1) -> (B,)


def token_nll_in_chunks(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the cross-entropy of each response token, (B, T-1) float32 in nats, 0 at what counts nothing.

    The head runs on the positions that predict a response token and on no other.
    """
    predicted = batch.predicted[:, 1:]  # (B, T-1)
    hidden = hidden_states(model, batch)[:, :-1][predicted]  # (n, D)
    nats = nll_in_chunks(hidden, batch.ids[:, 1:][predicted], lambda part: logits(model, part), CHUNK)  # (n,)
    return nats.new_zeros(predicted.shape).masked_scatter(predicted, nats)  # (B, T-1)


def nll_in_chunks(hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
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


@torch.inference_mode()
def nll(model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int) -> list[float]:
    """Return the negative log-likelihood of each example's response tokens, summed, in nats."""

    def measure(batch: Batch) -> list[float]:
        return response_nll_in_chunks(model, batch).tolist()

    return per_example(measure, examples, pad_id, token_budget, model.device, "loss")
