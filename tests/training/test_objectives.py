import math

import pytest
import torch
from torch.nn.functional import one_hot

from moesift.models.routers import Routing
from moesift.training.objectives import contrast, dual_update, load_balance, penalties, trash_shares


def routing(experts, logits) -> Routing:
    return Routing(torch.tensor(logits), torch.zeros(len(logits)), torch.tensor(experts), torch.zeros(len(logits), 1))


def test_the_contrast_is_a_soft_margin():
    losses = contrast(torch.tensor([2.0, 0.0, 60.0]), torch.tensor([1.0, 3.0, 0.0]), margin=1.0)
    expected = [math.log(2), math.log(1 + math.exp(4)), 0.0]  # ahead by the margin; behind by 3; far ahead
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)


def test_trash_shares_are_sums_over_counted_tokens_by_layer():
    odds = torch.tensor([[[math.log(3.0), 0.0, 50.0]], [[-math.log(3.0), 0.0, 50.0]]])  # (2 layers, 1, 3)
    counted = torch.tensor([[True, True, False]])
    assert trash_shares(odds, counted).tolist() == pytest.approx([0.25 + 0.5, 0.75 + 0.5])


def test_the_balance_of_an_even_load_is_one_and_of_a_single_expert_their_number():
    real = torch.ones(1, 2, dtype=torch.int64)
    even = routing([[0], [1]], [[0.0, 0.0], [0.0, 0.0]])
    assert load_balance(even, real).tolist() == pytest.approx([1.0])
    single = routing([[0], [0]], [[99.0, 0.0], [99.0, 0.0]])
    assert load_balance(single, real).tolist() == pytest.approx([2.0])


def test_the_balance_of_an_example_depends_on_neither_padding_nor_other_examples():
    logits = [[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    experts = [[0, 1], [1, 0], [0, 2], [2, 1]]
    together = load_balance(routing(experts, logits), torch.tensor([[1, 1], [1, 0]]))
    alone = load_balance(routing(experts[2:3], logits[2:3]), torch.tensor([[1]]))
    assert together[1].item() == pytest.approx(alone[0].item())
    # The equations of the paper: f_i = E / (K T) * dispatches_i, P_i = mean probability.
    load = one_hot(torch.tensor(experts[:2]), 3).sum(dim=(0, 1)) * 3 / (2 * 2)
    mean = torch.tensor(logits[:2]).softmax(dim=-1).mean(dim=0)
    assert together[0].item() == pytest.approx((load * mean).sum().item())


def test_multipliers_and_penalties_follow_the_distance_to_the_target():
    multipliers, shares = torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.1])
    assert dual_update(multipliers, shares, target=0.3, rate=0.5).tolist() == pytest.approx([0.1, 0.9])
    assert penalties(multipliers, shares, target=0.3, damping=2.0).tolist() == pytest.approx([0.4, 0.6])
