import pytest
import torch
from given.models import random_model

from moesift.evaluation.heldout import heldout_loss, heldout_losses
from moesift.models.chat import Encoded


def test_the_error_is_that_of_a_ratio():
    """Equal examples have none; with one token each, it is the plain standard error."""
    model = random_model("Olmoe")
    equal = [Encoded([5, 6, 7], [False, True, True])] * 4
    assert heldout_loss(heldout_losses(model, equal, 1, 100))["stderr"] == pytest.approx(0, abs=1e-6)
    single = [Encoded([5, token], [False, True]) for token in range(6, 16)]
    with torch.no_grad():
        values = -model(torch.tensor([[5]])).logits[0, 0].log_softmax(dim=-1)[6:16]
    expected = (values - values.mean()).square().sum().sqrt() / 10
    assert heldout_loss(heldout_losses(model, single, 1, 100))["stderr"] == pytest.approx(expected.item(), abs=1e-5)
