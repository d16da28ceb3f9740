import math

import pytest
import torch
from given.models import random_model
from torch.nn.functional import cross_entropy, one_hot

from moesift.models.batches import Batch
from moesift.models.losses import nll_in_chunks, response_nll, response_nll_in_chunks
from moesift.models.routers import Routing
from moesift.training.objectives import contrast, dual_update, load_balance, penalties, trash_shares

# Two examples: three tokens of which the last two are a response, and one token with padding.
BATCH = Batch(
    ids=torch.tensor([[0, 1, 2], [1, 0, 0]]),
    real=torch.tensor([[1, 1, 1], [1, 0, 0]]),
    response=torch.tensor([[False, True, True], [True, False, False]]),
)


def test_only_response_tokens_cost_and_each_is_predicted_from_the_token_before():
    logits = torch.zeros(2, 3, 3)
    logits[0, 0] = torch.tensor([0.0, math.log(2.0), 0.0])  # at token 0, for token 1: p = 2 / 4
    logits[0, 1] = torch.tensor([0.0, 0.0, math.log(6.0)])  # at token 1, for token 2: p = 6 / 8
    logits[0, 2] = 99.0  # predicts nothing that is here
    nats = response_nll(logits, BATCH)
    assert nats.tolist() == pytest.approx([math.log(2) + math.log(8 / 6), 0.0])


def test_the_head_may_run_on_the_last_positions_alone():
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    late = Batch(BATCH.ids, BATCH.real, torch.tensor([[False, False, True], [False, False, False]]))
    assert (BATCH.predicting, late.predicting) == (3, 2)
    assert torch.equal(response_nll(logits[:, -2:], late), response_nll(logits, late))
    nowhere = Batch(BATCH.ids[:, :1], BATCH.real[:, :1], torch.tensor([[False], [False]]))
    assert response_nll(logits[:, : nowhere.predicting], nowhere).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
def test_chunks_are_the_whole_with_its_gradients(chunk):
    """Against torch's own cross-entropy of all logits at once, where tokens weigh unequally."""
    generator = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(5, 4, generator=generator), torch.randn(7, 4, generator=generator)
    targets, weights = torch.tensor([0, 6, 3, 3, 1]), torch.tensor([1.0, 0.5, 0.0, 2.0, -1.0])
    whole, parted = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    expected = cross_entropy(whole @ head.T, targets, reduction="none")
    seen = []

    def logits(part):
        seen.append(len(part))
        return part @ head.T

    found = nll_in_chunks(parted, targets, logits, chunk)
    assert torch.allclose(found, expected, atol=1e-6)
    assert max(seen) <= chunk
    assert sum(seen) == 5
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    assert torch.allclose(parted.grad, whole.grad, atol=1e-6)


def test_chunks_need_neither_gradients_nor_tokens():
    with torch.inference_mode():
        assert nll_in_chunks(
            torch.zeros(3, 2), torch.tensor([0, 1, 1]), lambda part: part, 2
        ).tolist() == pytest.approx([math.log(2)] * 3)
    nothing = torch.zeros(0, 2, requires_grad=True)
    nll_in_chunks(nothing, torch.zeros(0, dtype=torch.int64), lambda part: part, 2).sum().backward()
    assert nothing.grad.shape == (0, 2)


def test_the_loss_of_a_model_is_that_of_its_logits():
    model = random_model("Olmoe")
    batch = Batch(
        ids=torch.tensor([[5, 6, 7, 8], [9, 10, 1, 1]]),
        real=torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        response=torch.tensor([[False, True, True, True], [True, True, False, False]]),
    )
    with torch.no_grad():
        whole = response_nll(model(batch.ids, attention_mask=batch.real).logits, batch)
        assert torch.allclose(response_nll_in_chunks(model, batch), whole, atol=1e-5)


def test_the_contrast_is_a_soft_margin():
    found = contrast(torch.tensor([2.0, 0.0, 60.0]), torch.tensor([1.0, 3.0, 0.0]), margin=1.0)
    expected = [math.log(2), math.log(1 + math.exp(4)), 0.0]  # leads by the margin; trails by 3; leads by far
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_trash_shares_are_sums_over_counted_tokens_by_layer():
    signals = torch.tensor([[[math.log(3.0), 0.0, 50.0]], [[-math.log(3.0), 0.0, 50.0]]])  # (2 layers, 1, 3)
    counted = torch.tensor([[True, True, False]])
    assert trash_shares(signals, counted).tolist() == pytest.approx([0.25 + 0.5, 0.75 + 0.5])


def routing(experts, logits) -> Routing:
    return Routing(torch.tensor(logits), torch.zeros(len(logits)), torch.tensor(experts), torch.zeros(len(logits), 1))


def test_an_even_load_costs_one_and_a_collapsed_one_as_many_as_there_are_experts():
    attention = torch.ones(1, 2, dtype=torch.int64)
    even = routing([[0], [1]], [[0.0, 0.0], [0.0, 0.0]])
    assert load_balance(even, attention).tolist() == pytest.approx([1.0])
    collapsed = routing([[0], [0]], [[99.0, 0.0], [99.0, 0.0]])
    assert load_balance(collapsed, attention).tolist() == pytest.approx([2.0])


def test_the_load_balance_of_an_example_knows_neither_padding_nor_neighbours():
    logits = [[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    experts = [[0, 1], [1, 0], [0, 2], [2, 1]]
    attention = torch.tensor([[1, 1], [1, 0]])
    together = load_balance(routing(experts, logits), attention)
    alone = load_balance(routing(experts[2:3], logits[2:3]), torch.tensor([[1]]))
    assert together[1].item() == pytest.approx(alone[0].item())
    # By the equations of the paper, written out: f_i = E / (K T) * dispatches_i, P_i = mean probability.
    sent = one_hot(torch.tensor(experts[:2]), 3).sum(dim=(0, 1)) * 3 / (2 * 2)
    mean = torch.tensor(logits[:2]).softmax(dim=-1).mean(dim=0)
    assert together[0].item() == pytest.approx((sent * mean).sum().item())


def test_dual_ascent_pays_and_charges():
    after = dual_update(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.1]), target=0.3, rate=0.5)
    assert after.tolist() == pytest.approx([0.1, 0.9])


def test_the_price_answers_a_miss_at_once():
    now = penalties(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.1]), target=0.3, damping=2.0)
    assert now.tolist() == pytest.approx([0.4, 0.6])
