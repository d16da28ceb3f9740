import pytest
import torch

from moesift.models.chat import encode
from moesift.models.routers import freeze_all_but
from moesift.training import state
from moesift.training.warmup import (
    Pair,
    Progress,
    Weights,
    accumulate_contrast,
    accumulate_gradients,
    from_tensors,
    to_tensors,
)

PRICES = torch.tensor([0.5, -0.25])
WEIGHTS = Weights(balance=0.1, penalties=PRICES)


def gradients(selector, parts):
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    selector.model.zero_grad()
    terms = accumulate_gradients(selector, [example for part in parts for example in part], parts, WEIGHTS)
    return terms, {name: parameter.grad.clone() for name, parameter in trained.items()}


def samples(selector, conversations):
    return encode(conversations, selector.tokenizer, 60)


def pairs(selector, conversations):
    """Each negative has its neighbour's response, so that nothing but the instruction tells the two apart."""
    swapped = [
        [own[0], other[1]] for own, other in zip(conversations, conversations[1:] + conversations[:1], strict=True)
    ]
    return [
        Pair(example, negative)
        for example, negative in zip(samples(selector, conversations), samples(selector, swapped), strict=True)
    ]


def contrasted(selector, parts):
    rows = selector.trash_can.trash_rows()
    freeze_all_but(selector.model, rows)
    selector.trash_can.gate = "open"
    selector.model.zero_grad()
    found = accumulate_contrast(selector, [pair for part in parts for pair in part], parts, margin=1.0)
    return *found, {name: parameter.grad.clone() for name, parameter in rows.items()}


def test_a_step_does_not_depend_on_its_parts(selector, conversations):
    examples = samples(selector, conversations)
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
    for layer, signal in enumerate(selector.trash_can.log_odds((1, len(example.ids)))):
        kept = 1 / (1 + (-signal[0][response]).exp())
        assert terms.shares[layer].item() == pytest.approx(1 - kept.mean().item(), abs=1e-5)


def test_a_price_on_trash_lowers_its_share(selector, conversations):
    examples = samples(selector, conversations)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.Adam(trained.values(), lr=0.02)
    costly = Weights(balance=0.0, penalties=torch.tensor([5.0, 5.0]))
    shares = []
    for _ in range(20):
        shares.append(accumulate_gradients(selector, examples, [examples], costly).shares)
        optimizer.step()
        optimizer.zero_grad()
    assert (shares[-1] < shares[0] * 0.8).all()


def test_the_contrast_is_that_of_the_quality_scores(selector, conversations):
    """Against the definition, from the scores that the selection would give to examples and negatives."""
    both = pairs(selector, conversations)
    found, shares, _ = contrasted(selector, [both])
    means = [
        torch.tensor(measuring.readings(selector, encoded, ["signals"], 1)).squeeze(1).mean(dim=1)
        for encoded in ([pair.example for pair in both], [pair.negative for pair in both])
    ]
    expected = (1 + (1.0 - (means[0] - means[1])).exp()).log().mean()
    assert found == pytest.approx(expected.item(), abs=1e-5)
    assert ((shares > 0) & (shares < 1)).all()


def test_what_two_processes_find_sums_to_the_step(selector, conversations):
    examples, both = samples(selector, conversations), pairs(selector, conversations)
    whole, at_once = gradients(selector, [examples])
    contrast, _, of_pairs = contrasted(selector, [both])
    found, contrasts = [], []
    for own in (slice(0, 2), slice(2, None)):
        freeze_all_but(selector.model, selector.trash_can.parameters())
        selector.trash_can.gate = "learned"
        selector.model.zero_grad()
        terms = accumulate_gradients(selector, examples, [examples[own]], WEIGHTS)
        found.append((terms, {name: p.grad.clone() for name, p in selector.trash_can.parameters().items()}))
        selector.trash_can.gate = "open"
        selector.model.zero_grad()
        value, _ = accumulate_contrast(selector, both, [both[own]], margin=1.0)
        contrasts.append((value, {name: p.grad.clone() for name, p in selector.trash_can.trash_rows().items()}))
    assert sum(terms.nats for terms, _ in found) == pytest.approx(whole.nats, abs=1e-5)
    assert sum(terms.balance for terms, _ in found) == pytest.approx(whole.balance, abs=1e-5)
    assert torch.allclose(sum(terms.shares for terms, _ in found), whole.shares, atol=1e-6)
    assert all(torch.allclose(found[0][1][name] + found[1][1][name], at_once[name], atol=1e-6) for name in at_once)
    assert sum(value for value, _ in contrasts) == pytest.approx(contrast, abs=1e-5)
    assert all(
        torch.allclose(contrasts[0][1][name] + contrasts[1][1][name], of_pairs[name], atol=1e-6) for name in of_pairs
    )


def test_a_contrast_does_not_depend_on_its_parts(selector, conversations):
    both = pairs(selector, conversations)
    whole, shares, at_once = contrasted(selector, [both])
    found, again, in_parts = contrasted(selector, [both[:1], both[1:4], [], both[4:]])
    assert found == pytest.approx(whole, abs=1e-5)
    assert torch.allclose(again, shares, atol=1e-6)
    for name, gradient in at_once.items():
        assert gradient.abs().max() > 0
        assert torch.allclose(in_parts[name], gradient, atol=1e-6)


def test_the_gradient_of_the_contrast_is_that_through_the_whole_model(selector, conversations):
    """Against a forward pass that keeps its graph: with the gate open the rows act on the signals alone."""
    both = pairs(selector, conversations)[:2]
    _, _, found = contrasted(selector, [both])
    rows = selector.trash_can.trash_rows()
    selector.model.zero_grad()
    means = []
    for encoded in [pair.example for pair in both] + [pair.negative for pair in both]:
        selector.model(torch.tensor([encoded.ids]))
        signals = selector.trash_can.log_odds((1, len(encoded.ids)))  # (L, 1, T)
        means.append(signals[:, 0, torch.tensor(encoded.response)].mean())
    torch.stack([torch.nn.functional.softplus(1 - (means[n] - means[n + 2])) for n in range(2)]).mean().backward()
    for name, gradient in found.items():
        assert torch.allclose(gradient, rows[name].grad, atol=1e-6)


def test_training_on_the_contrast_ranks_examples_above_their_twins(selector, conversations):
    backwards = [[asked, {**answer, "content": answer["content"][::-1]}] for asked, answer in conversations]
    negatives = samples(selector, backwards)
    both = [Pair(*pair) for pair in zip(samples(selector, conversations), negatives, strict=True)]
    optimizer = torch.optim.Adam(selector.trash_can.trash_rows().values(), lr=0.05)
    contrasts = []
    for _ in range(60):
        contrasts.append(contrasted(selector, [both])[0])
        optimizer.step()
    assert contrasts[-1] < 0.75 * contrasts[0]


def test_the_optimizer_goes_on_where_it_was(selector, conversations):
    examples = samples(selector, conversations)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=0.01)

    def step(optimizer):
        accumulate_gradients(selector, examples, [examples], WEIGHTS)
        optimizer.step()
        optimizer.zero_grad()
        return {name: parameter.detach().clone() for name, parameter in trained.items()}

    step(optimizer)
    before = step(optimizer)
    kept = to_tensors(Progress(2, PRICES, torch.tensor([0.1, 0.2]))) | state.moments(optimizer, trained)
    kept = {name: value.clone() for name, value in kept.items()}
    uninterrupted = step(optimizer)

    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(before[name])
    fresh = torch.optim.AdamW(trained.values(), lr=0.01)
    progress = from_tensors(kept)
    state.set_moments(kept, fresh, trained)
    assert (progress.steps, progress.multipliers.tolist()) == (2, [0.5, -0.25])
    resumed = step(fresh)
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in trained)
