import pytest
import torch
from given.models import random_model

from moesift.evaluation.heldout import heldout_loss, heldout_losses
from moesift.models.chat import Encoded, encode


def test_the_mean_is_over_tokens_not_examples(tokenizer, conversations):
    model = random_model("Olmoe")
    examples = encode(conversations, tokenizer, 60)
    by_example = heldout_losses(model, examples, tokenizer.pad_token_id, token_budget=100)
    nll, tokens = [], [example.predicted for example in examples]
    for example in examples:
        labels = [i if r else -100 for i, r in zip(example.ids, example.response, strict=True)]
        with torch.no_grad():
            mean = model(torch.tensor([example.ids]), labels=torch.tensor([labels])).loss.item()
        nll.append(mean * example.predicted)
    assert by_example["nll"].to_list() == pytest.approx(nll, abs=1e-4)
    assert by_example["tokens"].to_list() == tokens
    result = heldout_loss(by_example)
    assert result["nll"] == pytest.approx(sum(nll) / sum(tokens), abs=1e-5)
    assert (result["tokens"], result["examples"]) == (sum(tokens), len(examples))


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
