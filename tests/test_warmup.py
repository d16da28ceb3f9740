import pytest
import torch

from moesift.chat import encode
from moesift.routers import freeze_all_but
from moesift.warmup import Progress, accumulate_gradients, from_tensors, to_tensors

PRICES = torch.tensor([0.5, -0.25])


def gradients(selector, parts):
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    selector.model.zero_grad()
    terms = accumulate_gradients(selector, parts, PRICES, balance_weight=0.1)
    return terms, {name: parameter.grad.clone() for name, parameter in trained.items()}


def test_a_step_does_not_depend_on_its_parts(selector, conversations):
    examples = encode(conversations, selector.tokenizer, 60)
    whole, at_once = gradients(selector, [examples])
    terms, in_parts = gradients(selector, [examples[:1], examples[1:4], [], examples[4:]])
    assert terms.nats == pytest.approx(whole.nats, abs=1e-5)
    assert terms.balance == pytest.approx(whole.balance, abs=1e-5)
    assert torch.allclose(terms.shares, whole.shares, atol=1e-6)
    for name, gradient in at_once.items():
        assert gradient.abs().max() > 0
        assert torch.allclose(in_parts[name], gradient, atol=1e-6)


def test_the_terms_are_those_of_the_loss(selector, conversations):
    """Against transformers' own loss, and the definition of the trash share."""
    (example,) = encode(conversations[:1], selector.tokenizer, 60)
    terms, _ = gradients(selector, [[example]])
    ids = torch.tensor([example.ids])
    labels = torch.tensor([[i if r else -100 for i, r in zip(example.ids, example.response, strict=True)]])
    with torch.no_grad():
        loss = selector.model(ids, labels=labels).loss
    assert terms.nats == pytest.approx(loss.item(), abs=1e-5)
    response = torch.tensor(example.response)
    for layer, signal in enumerate(selector.trash_can.signals((1, len(example.ids)))):
        kept = 1 / (1 + (-signal[0][response]).exp())
        assert terms.shares[layer].item() == pytest.approx(1 - kept.mean().item(), abs=1e-5)


def test_a_price_on_trash_lowers_its_share(selector, conversations):
    examples = encode(conversations, selector.tokenizer, 60)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.Adam(trained.values(), lr=0.02)
    shares = []
    for _ in range(20):
        shares.append(accumulate_gradients(selector, [examples], torch.tensor([5.0, 5.0]), 0.0).shares)
        optimizer.step()
        optimizer.zero_grad()
    assert (shares[-1] < shares[0] * 0.8).all()


def test_the_optimizer_goes_on_where_it_was(selector, conversations):
    examples = encode(conversations, selector.tokenizer, 60)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01)

    def step(optimizer):
        accumulate_gradients(selector, [examples], PRICES, 0.0)
        optimizer.step()
        optimizer.zero_grad()
        return {name: parameter.detach().clone() for name, parameter in trained.items()}

    step(optimizer)
    before = step(optimizer)
    state = to_tensors(Progress(2, PRICES, torch.tensor([0.1, 0.2])), optimizer, trained)
    state = {name: value.clone() for name, value in state.items()}
    uninterrupted = step(optimizer)

    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(before[name])
    fresh = torch.optim.AdamW(trained.values(), lr=0.01)
    progress = from_tensors(state, fresh, trained)
    assert (progress.steps, progress.multipliers.tolist()) == (2, [0.5, -0.25])
    resumed = step(fresh)
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in trained)
