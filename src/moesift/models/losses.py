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

# Tokens whose logits exist at the same time: with a vocabulary of 100k, 100 MB in float32, and 800 MB on a GPU.
CHUNK = {"cpu": 256, "cuda": 2048}


def response_nll(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy of each example's response tokens, summed, (B,) float32 in nats.

    Token t is predicted by the logits at t - 1. Padding and instructions do not count.

    Args:
        logits: (B, P, V) of the last P positions, where P is at least `batch.predicting`.
        batch: the tokens that the logits were computed from, (B, T).
    """
    first = batch.ids.shape[1] - logits.shape[1] + 1
    targets = batch.ids.masked_fill(~batch.response, -100)[:, first:]  # (B, P-1)
    targets = F.pad(targets, (0, 1), value=-100)  # (B, P): the last position predicts nothing
    # As rows: along any other dimension than the last, torch's softmax is slower, on a GPU by far.
    nll = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="none")
    return nll.view(targets.shape).sum(dim=1)  # (B, P) -> (B,)


def response_nll_in_chunks(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Do as `response_nll` for a model with a frozen head, whose logits never exist all at once, (B,) float32."""
    return token_nll_in_chunks(model, batch).sum(dim=1)  # (B, T-1) -> (B,)


def token_nll_in_chunks(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Return the cross-entropy of each response token, (B, T-1) float32 in nats, 0 at all other tokens.

    The head runs only at positions that predict a response token.
    """
    predicted = batch.predicted[:, 1:]  # (B, T-1)
    hidden = hidden_states(model, batch)[:, :-1][predicted]  # (n, D)
    chunk = CHUNK[hidden.device.type]
    nll = nll_in_chunks(hidden, batch.ids[:, 1:][predicted], lambda part: logits(model, part), chunk)  # (n,)
    return nll.new_zeros(predicted.shape).masked_scatter(predicted, nll)  # (B, T-1)


def nll_in_chunks(hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
    """Return the cross-entropy of each token, (n,) float32 in nats, with gradients for the hidden states only.

    Args:
        hidden: (n, D).
        targets: (n,) int64.
        head: computes logits of hidden states, (c, D) -> (c, V).
        chunk: number c of tokens whose logits, and their gradients, exist at the same time.
    """
    return _NllInChunks.apply(hidden, targets, head, chunk)


class _NllInChunks(torch.autograd.Function):
    """A token's loss depends on no other token, so its gradient is computed while its logits exist, and kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
        needs_gradient = ctx.needs_input_grad[0]
        nll, gradients = hidden.new_empty(len(hidden), dtype=torch.float32), []
        for start in range(0, len(hidden), chunk):
            part = hidden[start : start + chunk].detach().requires_grad_(needs_gradient)  # (c, D)
            with torch.set_grad_enabled(needs_gradient):
                losses = F.cross_entropy(head(part).float(), targets[start : start + chunk], reduction="none")  # (c,)
            nll[start : start + chunk] = losses.detach()
            if needs_gradient:
                gradients += torch.autograd.grad(losses, part, torch.ones_like(losses))
        if needs_gradient:
            ctx.save_for_backward(torch.cat(gradients) if gradients else torch.zeros_like(hidden))  # (n, D)
        return nll

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradients,) = ctx.saved_tensors
        return (upstream[0].unsqueeze(1) * gradients).to(gradients.dtype), None, None, None  # (n, D)


@torch.inference_mode()
def nll(model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int) -> list[float]:
    """Return the negative log-likelihood of each example's response tokens, summed, in nats."""

    def measure(batch: Batch) -> list[float]:
        return response_nll_in_chunks(model, batch).tolist()

    return per_example(measure, examples, pad_id, token_budget, model.device, "loss")
