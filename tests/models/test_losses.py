import math

import pytest
import torch
from given.models import random_model
from torch.nn.functional import cross_entropy

from moesift.models.batches import Batch
from moesift.models.losses import nll_in_chunks, response_nll, token_nll_in_chunks

# Two examples: three tokens of which the last two are a response, and one token with padding.
BATCH = Batch(
    ids=torch.tensor([[0, 1, 2], [1, 0, 0]]),
    real=torch.tensor([[1, 1, 1], [1, 0, 0]]),
    response=torch.tensor([[False, True, True], [True, False, False]]),
)


def test_each_response_token_is_predicted_from_the_token_before():
    logits = torch.zeros(2, 3, 3)
    logits[0, 0] = torch.tensor([0.0, math.log(2.0), 0.0])  # at token 0, for token 1: p = 2 / 4
    logits[0, 1] = torch.tensor([0.0, 0.0, math.log(6.0)])  # at token 1, for token 2: p = 6 / 8
    logits[0, 2] = 99.0  # predicts a token beyond the end
    assert response_nll(logits, BATCH).tolist() == pytest.approx([math.log(2) + math.log(8 / 6), 0.0])


def test_the_head_may_run_on_the_last_positions_only():
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    late = Batch(BATCH.ids, BATCH.real, torch.tensor([[False, False, True], [False, False, False]]))
    assert (BATCH.predicting, late.predicting) == (3, 2)
    assert torch.equal(response_nll(logits[:, -2:], late), response_nll(logits, late))
    nowhere = Batch(BATCH.ids[:, :1], BATCH.real[:, :1], torch.tensor([[False], [False]]))
    assert response_nll(logits[:, : nowhere.predicting], nowhere).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_chunks_give_the_loss_and_gradients_of_the_whole(chunk):
    """Against torch's own cross-entropy of all logits at once, with unequal weights of the tokens."""
    generator = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(5, 4, generator=generator), torch.randn(7, 4, generator=generator)
    targets, weights = torch.tensor([0, 6, 3, 3, 1]), torch.tensor([1.0, 0.5, 0.0, 2.0, -1.0])
    whole, chunked = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    expected = cross_entropy(whole @ head.T, targets, reduction="none")
    sizes = []

    def logits(part):
        sizes.append(len(part))
        return part @ head.T

    nll = nll_in_chunks(chunked, targets, logits, chunk)
    assert torch.allclose(nll, expected, atol=1e-6)
    assert max(sizes) <= chunk
    assert sum(sizes) == 5
    (expected * weights).sum().backward()
    (nll * weights).sum().backward()
    assert torch.allclose(chunked.grad, whole.grad, atol=1e-6)


def test_chunks_without_gradients_or_tokens():
    with torch.inference_mode():
        nll = nll_in_chunks(torch.zeros(3, 2), torch.tensor([0, 1, 1]), lambda part: part, 2)
    assert nll.tolist() == pytest.approx([math.log(2)] * 3)
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
        logits = model(batch.ids, attention_mask=batch.real).logits
        by_token = token_nll_in_chunks(model, batch)
    assert torch.allclose(by_token.sum(dim=1), response_nll(logits, batch), atol=1e-5)
    expected = cross_entropy(logits[0, :-1], batch.ids[0, 1:], reduction="none")
    assert torch.allclose(by_token[0], expected, atol=1e-5)
    assert by_token[1].count_nonzero() == 1
