import math

import pytest
import torch
from conftest import FAMILIES, random_model

from moesift.batches import collate
from moesift.chat import Encoded, encode
from moesift.checkpoints import Selector
from moesift.routers import TrashCan
from moesift.scores import NO_RESPONSE
from moesift.scoring import calculate_quality_score, layer_scores, score_by_router

SIGNALS = torch.tensor([[[1.0, 2.0, 9.0], [4.0, 9.0, 9.0]], [[3.0, 4.0, 9.0], [0.0, 9.0, 9.0]]])  # (L=2, B=2, T=3)
COUNTED = torch.tensor([[True, True, False], [True, False, False]])


def test_the_quality_score_is_the_mean_over_layers_and_counted_tokens():
    assert layer_scores(SIGNALS, COUNTED).tolist() == [[1.5, 3.5], [4.0, 0.0]]
    assert calculate_quality_score(SIGNALS, COUNTED, [0, 1]).tolist() == [2.5, 2.0]
    assert calculate_quality_score(SIGNALS, COUNTED, [1]).tolist() == [3.5, 0.0]


def test_an_example_without_a_counted_token_has_no_score():
    assert math.isnan(calculate_quality_score(SIGNALS, torch.zeros(2, 3, dtype=torch.bool), [0])[0].item())


def scores(selector, examples, budget, tokens="response", layers="all"):
    return [row["score"] for row in score_by_router(selector, examples, layers, tokens, budget)]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_do_not_depend_on_batches_or_order(family, tokenizer, conversations):
    model = random_model(family)
    selector = Selector(model, tokenizer, TrashCan(model, 0.5, "appended", 0), {})
    examples = encode(conversations, tokenizer, 60)
    alone = scores(selector, examples, budget=1)
    assert scores(selector, examples, budget=10_000) == pytest.approx(alone, abs=1e-5)
    assert scores(selector, examples[::-1], budget=200)[::-1] == pytest.approx(alone, abs=1e-5)
    assert max(alone) - min(alone) > 1e-3


def test_the_score_is_the_mean_log_odds_of_the_response_tokens(selector, conversations):
    """Against the definition, computed from the router's weights and what the router reads."""
    (example,) = encode(conversations[:1], selector.tokenizer, 60)
    (row,) = score_by_router(selector, [example], "all", "response", 100)
    read = {}
    for name, router in selector.trash_can.routers.items():
        router.register_forward_pre_hook(lambda _, inputs, name=name: read.__setitem__(name, inputs[0].view(-1, 32)))
    with torch.no_grad():
        selector.model(torch.tensor([example.ids]))
    response = torch.tensor(example.response)
    by_layer = []
    for name, router in selector.trash_can.routers.items():
        z = (read[name] @ router.weight.T).exp().sum(dim=1).log()
        u = (read[name] @ router.trash_weight.T).exp().sum(dim=1).log()
        by_layer.append((z - u)[response].mean().item())
    assert row["layer_scores"] == pytest.approx(by_layer, abs=1e-5)
    assert row["score"] == pytest.approx(sum(by_layer) / 2, abs=1e-5)
    assert row["n_tokens"] == sum(example.response)


def test_layers_and_tokens_are_a_choice(selector, conversations):
    examples = encode(conversations[:2], selector.tokenizer, 60)
    rows = score_by_router(selector, examples, [1], "response", 100)
    assert [row["score"] for row in rows] == pytest.approx([row["layer_scores"][1] for row in rows])
    everything = score_by_router(selector, examples, "all", "all", 100)
    assert [row["n_tokens"] for row in everything] == [len(example.ids) for example in examples]


def test_an_example_cut_before_its_response_keeps_its_place_and_gets_a_reason(selector, conversations):
    examples = encode(conversations[:2], selector.tokenizer, 60)
    rows = score_by_router(
        selector, [examples[0], Encoded([5, 6], [False, False], True), examples[1]], "all", "response", 100
    )
    assert [row["reason"] for row in rows] == [None, NO_RESPONSE, None]
    assert rows[1]["score"] is None


def test_padding_never_reaches_a_score(selector, conversations):
    """The padded rows of a batch give the log odds of the examples alone."""
    short, long = sorted(encode(conversations, selector.tokenizer, 60), key=lambda e: len(e.ids))[::5]
    batch = collate([long, short], selector.tokenizer.pad_token_id)
    with torch.no_grad():
        selector.model(batch.ids, attention_mask=batch.attention)
        together = selector.trash_can.signals(batch.ids.shape)[:, 1, : len(short.ids)]
        selector.model(torch.tensor([short.ids]))
    assert torch.allclose(together, selector.trash_can.signals((1, len(short.ids)))[:, 0], atol=1e-5)
