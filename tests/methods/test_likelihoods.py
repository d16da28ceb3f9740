import numpy as np
import pytest

from moesift.methods import likelihoods


def test_the_quality_score_is_the_mean_over_the_chosen_layers():
    signals = np.array([[1.5, 3.5], [4.0, 0.0]])  # (N=2, L=2)
    assert methods.calculate_quality_score(signals, [0, 1]).tolist() == [2.5, 2.0]
    assert methods.calculate_quality_score(signals, [1]).tolist() == [3.5, 0.0]


def test_expert_gain_is_the_loss_that_the_experts_take_off_each_token():
    gain = methods.expert_gain(np.array([30.0, 8.0]), np.array([20.0, 12.0]), np.array([5, 2]))
    assert gain.tolist() == [2.0, -2.0]


def test_reducible_is_before_minus_after():
    assert methods.reducible(np.array([12.0]), np.array([9.0]), np.array([3])).tolist() == [1.0]


def test_the_gain_of_the_instruction_is_what_it_takes_off_the_loss():
    gain = methods.instruction_gain(np.array([3.0, 5.0, 6.0]), np.array([12.0, 5.0, 4.0]))
    assert gain.tolist() == [0.75, 0.0, -0.5]


def test_likelihood_and_information_are_of_the_same_tokens():
    given, alone = np.log([0.5, 0.25]), np.log([0.125, 0.25])  # of two tokens
    score = methods.likelihood_pmi(np.array([-given.sum()]), np.array([-alone.sum()]), np.array([2]))
    assert score == pytest.approx([given.mean() + (given - alone).mean()])
    assert score == pytest.approx([np.log(0.125) / 2 + np.log(4) / 2])


def test_the_likelier_response_comes_first():
    assert methods.likelihood(np.array([6.0, 2.0]), np.array([3, 4])).tolist() == [-2.0, -0.5]


def test_ifd_is_the_loss_with_the_instruction_over_the_loss_without():
    """s(A|Q) / s(A) of the paper, worked out by hand from the probabilities of each token."""
    given = -np.log(np.array([0.5, 0.25, 0.5]))  # after the instruction
    alone = -np.log(np.array([0.25, 0.25, 0.25]))  # without it
    ratio = methods.ifd(np.array([given.sum()]), np.array([alone.sum()]))
    assert ratio == pytest.approx([(given.mean()) / (alone.mean())])
    assert ratio == pytest.approx([2 / 3])


def test_length_counts_response_tokens():
    assert methods.length(np.array([2, 0])).tolist() == [2.0, 0.0]


def test_random_is_uniform_and_set_by_its_seed():
    scores = methods.random(10_000, seed=1).tolist()
    assert scores == methods.random(10_000, seed=1).tolist() != methods.random(10_000, seed=2).tolist()
    assert abs(sum(scores) / 10_000 - 0.5) < 0.02
    assert 0 <= min(scores) <= max(scores) < 1
