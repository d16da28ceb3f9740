"""Forward passes over examples: what a model says of each, before a method makes a score of it."""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from moesift.batches import Batch, by_token_budget, collate
from moesift.chat import Encoded, responses_alone
from moesift.checkpoints import Selector
from moesift.objectives import layer_means, response_nats

# Consecutive examples that are batched among themselves. Shards take whole chunks, so that the batch that an example
# is measured in, and with it the last digit, does not depend on the number of shards.
CHUNK = 256


@torch.inference_mode()
def signals(
    selector: Selector, examples: Sequence[Encoded], tokens: Literal["response", "all"], token_budget: int
) -> list[list[float]]:
    """Return each routed layer's mean log odds s of each example, over response tokens or all; the head never runs."""
    found: list[list[float]] = [[]] * len(examples)
    for indices, batch in _batches(selector.model, selector.tokenizer.pad_token_id, examples, token_budget):
        selector.model.base_model(batch.ids, attention_mask=batch.attention, use_cache=False)
        counted = batch.response if tokens == "response" else batch.attention.bool()  # (B, T)
        means = layer_means(selector.trash_can.signals(batch.ids.shape), counted).tolist()  # (B, L)
        for index, by_layer in zip(indices, means, strict=True):
            found[index] = by_layer
    return found


@torch.inference_mode()
def usage(selector: Selector, examples: Sequence[Encoded], token_budget: int) -> list[list[float]]:
    """Return how each example uses the experts: each routed layer's mean softmax over its E quality experts.

    L * E numbers, over the response tokens. Two examples that are sent to the same experts are near each other.
    """
    found: list[list[float]] = [[]] * len(examples)
    for indices, batch in _batches(selector.model, selector.tokenizer.pad_token_id, examples, token_budget):
        selector.model.base_model(batch.ids, attention_mask=batch.attention, use_cache=False)
        counted = batch.response.float()  # (B, T)
        by_layer = []
        for name in selector.trash_can.routers:
            shares = selector.trash_can.routing[name].quality_logits.softmax(dim=-1)  # (N, E)
            total = torch.einsum("bte,bt->be", shares.view(*counted.shape, -1), counted)  # (B, E)
            by_layer.append(total / counted.sum(dim=1, keepdim=True))
        for index, shares in zip(indices, torch.cat(by_layer, dim=1).tolist(), strict=True):  # (B, L * E)
            found[index] = shares
    return found


@torch.inference_mode()
def nats(model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int) -> list[float]:
    """Return the cross-entropy of each example's response tokens, summed, in nats."""
    found = [0.0] * len(examples)
    for indices, batch in _batches(model, pad_id, examples, token_budget):
        logits = model(
            batch.ids, attention_mask=batch.attention, use_cache=False, logits_to_keep=batch.predicting
        ).logits  # (B, P, V)
        for index, value in zip(indices, response_nats(logits, batch).tolist(), strict=True):
            found[index] = value
    return found


def nats_alone(
    model: PreTrainedModel, pad_id: int, start_id: int, examples: Sequence[Encoded], token_budget: int
) -> list[float]:
    """Return the cross-entropy of the same tokens with nothing before each response but the start token, in nats."""
    alone = [(index, turn) for index, example in enumerate(examples) for turn in responses_alone(example, start_id)]
    found = [0.0] * len(examples)
    values = nats(model, pad_id, [turn for _, turn in alone], token_budget)
    for (index, _), value in zip(alone, values, strict=True):
        found[index] += value
    return found


def _batches(
    model: PreTrainedModel, pad_id: int, examples: Sequence[Encoded], token_budget: int
) -> Iterator[tuple[list[int], Batch]]:
    batches = by_token_budget([len(example.ids) for example in examples], token_budget)
    for indices in tqdm(batches, desc="measure", unit="batch", disable=None):
        yield indices, collate([examples[index] for index in indices], pad_id).to(model.device)
