import pytest
import torch

from moesift import measuring
from moesift.chat import encode
from moesift.routers import freeze_all_but
from moesift.warmup import Progress, Sample, Weights, accumulate_gradients, from_tensors, to_tensors

PRICES = torch.tensor([0.5, -0.25])
WEIGHTS = Weights(nats=1.0, balance=0.1, prices=PRICES, contrast=0.7)
ONLY_CONTRAST = Weights(nats=0.0, balance=0.0, prices=torch.zeros(2), contrast=1.0)


def gradients(selector, parts, weights=WEIGHTS):
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    selector.model.zero_grad()
    terms = accumulate_gradients(selector, parts, weights, margin=1.0)
    return terms, {name: parameter.grad.clone() for name, parameter in trained.items()}


def samples(selector, conversations):
    """Six examples; the first and the last have no twin, the others that of their neighbour's response."""
    examples = encode(conversations, selector.tokenizer, 60)
    twins = encode(
        [[own[0], other[1]] for own, other in zip(conversations, conversations[1:] + conversations[:1], strict=True)],
        selector.tokenizer,
        60,
    )
    return [Sample(e, None if n in (0, 5) else t) for n, (e, t) in enumerate(zip(examples, twins, strict=True))]


def test_a_step_does_not_depend_on_its_parts(selector, conversations):
    examples = samples(selector, conversations)
    whole, at_once = gradients(selector, [examples])
    terms, in_parts = gradients(selector, [examples[:1], examples[1:4], [], examples[4:]])
    assert terms.nats == pytest.approx(whole.nats, abs=1e-5)
    assert terms.balance == pytest.approx(whole.balance, abs=1e-5)
    assert terms.contrast == pytest.approx(whole.contrast, abs=1e-5)
    assert torch.allclose(terms.shares, whole.shares, atol=1e-6)
    for name, gradient in at_once.items():
        assert gradient.abs().max() > 0
        assert torch.allclose(in_parts[name], gradient, atol=1e-6)


def test_the_terms_are_those_of_the_loss(selector, conversations):
    """Against transformers' own loss, and the definition of the trash share."""
    (example,) = encode(conversations[:1], selector.tokenizer, 60)
    terms, _ = gradients(selector, [[Sample(example)]])
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
    examples = samples(selector, conversations)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.Adam(trained.values(), lr=0.02)
    costly = Weights(nats=1.0, balance=0.0, prices=torch.tensor([5.0, 5.0]), contrast=0.0)
    shares = []
    for _ in range(20):
        shares.append(accumulate_gradients(selector, [examples], costly, 1.0).shares)
        optimizer.step()
        optimizer.zero_grad()
    assert (shares[-1] < shares[0] * 0.8).all()


def test_twins_take_part_in_the_contrast_alone(selector, conversations):
    with_twins = samples(selector, conversations)
    without = [Sample(sample.example) for sample in with_twins]
    found, _ = gradients(selector, [with_twins])
    expected, _ = gradients(selector, [without])
    assert found.nats == pytest.approx(expected.nats, abs=1e-5)
    assert found.balance == pytest.approx(expected.balance, abs=1e-5)
    assert torch.allclose(found.shares, expected.shares, atol=1e-6)
    assert expected.contrast == 0.0


def test_the_contrast_is_that_of_the_quality_scores(selector, conversations):
    """Against the definition, from the scores that the selection would give to examples and twins."""
    pairs = [sample for sample in samples(selector, conversations) if sample.twin]
    terms, _ = gradients(selector, [pairs], ONLY_CONTRAST)
    means = [
        torch.tensor(measuring.signals(selector, encoded, "response", 1)).mean(dim=1)
        for encoded in ([pair.example for pair in pairs], [pair.twin for pair in pairs])
    ]
    expected = (1 + (1.0 - (means[0] - means[1])).exp()).log().mean()
    assert terms.contrast == pytest.approx(expected.item(), abs=1e-5)


def test_training_on_the_contrast_ranks_examples_above_their_twins(selector, conversations):
    pairs = [sample for sample in samples(selector, conversations) if sample.twin]
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.Adam(trained.values(), lr=0.05)
    contrasts = []
    for _ in range(40):
        contrasts.append(accumulate_gradients(selector, [pairs], ONLY_CONTRAST, 1.0).contrast)
        optimizer.step()
        optimizer.zero_grad()
    # Each twin has another example's response, so that nothing but the instruction tells the two apart.
    assert contrasts[-1] < 0.75 * contrasts[0]


def test_the_optimizer_goes_on_where_it_was(selector, conversations):
    examples = samples(selector, conversations)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01)

    def step(optimizer):
        accumulate_gradients(selector, [examples], WEIGHTS, 1.0)
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
