"""The quality score: what the routers say of an example."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from moesift.batches import by_token_budget, collate
from moesift.chat import Encoded
from moesift.checkpoints import Selector
from moesift.scores import row


def calculate_quality_score(signals: Tensor, counted: Tensor, layers: Sequence[int]) -> Tensor:
    """Return the quality score of each example: the mean of s over the chosen layers and the counted tokens.

    Args:
        signals: log odds s = LSE(z) - LSE(u) of the quality experts against the trash cans, (L, B, T), in nats.
        counted: which tokens count, (B, T) bool; False on padding.
        layers: indices of the routed layers that count.

    Returns:
        (B,) float32, in nats; nan for an example without a counted token.
    """
    return layer_scores(signals, counted)[:, list(layers)].mean(dim=1)


def layer_scores(signals: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of s over the counted tokens of each example, layer by layer, (B, L)."""
    total = torch.einsum("lbt,bt->bl", signals, counted.to(signals.dtype))  # (B, L)
    return total / counted.sum(dim=1, keepdim=True)  # 0 / 0 is nan: no score is invented


@torch.inference_mode()
def score_by_router(
    selector: Selector,
    examples: Sequence[Encoded],
    layers: Sequence[int] | Literal["all"],
    tokens: Literal["response", "all"],
    token_budget: int,
) -> list[dict[str, Any]]:
    """Score examples with the selector's routers; the language-model head never runs.

    Returns:
        One row of the table of scores an example, in the order given.
    """
    rows = [row(float("nan"), 0)] * len(examples)
    scored = [index for index, example in enumerate(examples) if any(example.response)]
    chosen = range(len(selector.trash_can.routers)) if layers == "all" else layers
    batches = by_token_budget([len(examples[index].ids) for index in scored], token_budget)
    for positions in tqdm(batches, desc="score", unit="batch", disable=None):
        batch = collate([examples[scored[p]] for p in positions], selector.tokenizer.pad_token_id)
        batch = batch.to(selector.model.device)
        selector.model.base_model(batch.ids, attention_mask=batch.attention, use_cache=False)
        signals = selector.trash_can.signals(batch.ids.shape)  # (L, B, T)
        counted = batch.response if tokens == "response" else batch.attention.bool()  # (B, T)
        scores = calculate_quality_score(signals, counted, chosen).tolist()
        for p, score, count, by_layer in zip(
            positions, scores, counted.sum(dim=1).tolist(), layer_scores(signals, counted).tolist(), strict=True
        ):
            rows[scored[p]] = row(score, count, by_layer)
    return rows
