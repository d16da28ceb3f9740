import pytest
import torch
from accelerate import Accelerator

from moesift.config import Warmup
from moesift.models.chat import encode
from moesift.models.routers import freeze_all_but
from moesift.passes import routing
from moesift.passes.reader import Reader
from moesift.training import state
from moesift.training.warmup import Pair, Progress, accumulate_contrast, accumulate_nll, progress_of, take_step

COEFFICIENTS = torch.tensor([0.5, -0.25])
SETTINGS = {"balance": 0.01, "learning_rate": 0.1, "trash_share": 0.3, "dual_rate": 0.05, "damping": 2.0, "margin": 1.0}
START = Progress(torch.tensor(0), torch.zeros(2), torch.full((2,), 0.3))


@pytest.fixture
def examples(selector, conversations):
    return encode(conversations, selector.tokenizer, 60)


@pytest.fixture
def pairs(selector, conversations, examples):
    """Each negative has its neighbour's response, so that only the instruction separates the two."""
    swapped = [
        [each[0], other[1]] for each, other in zip(conversations, conversations[1:] + conversations[:1], strict=True)
    ]
    return [Pair(*pair) for pair in zip(examples, encode(swapped, selector.tokenizer, 60), strict=True)]


def gradients(selector, objective, parts, step=None):
    """Return the losses, trash shares and gradients of passes, of the step that they make or are a part of."""
    step = step or [sample for part in parts for sample in part]
    trash_can = selector.trash_can
    trained = trash_can.parameters() if objective == "nll" else trash_can.trash_rows()
    freeze_all_but(selector.model, trained)
    selector.model.zero_grad()
    trash_can.gate = "learned" if objective == "nll" else "open"
    if objective == "nll":
        losses, shares = accumulate_nll(selector, step, parts, 0.1, COEFFICIENTS)
    else:
        losses, shares = accumulate_contrast(selector, step, parts, margin=1.0)
    return losses, shares, {name: parameter.grad.clone() for name, parameter in trained.items()}


@pytest.mark.parametrize("objective", ["nll", "contrast"])
def test_a_step_does_not_depend_on_its_passes_or_processes(objective, selector, examples, pairs):
    samples = examples if objective == "nll" else pairs
    losses, shares, at_once = gradients(selector, objective, [samples])
    in_parts = gradients(selector, objective, [samples[:1], samples[1:4], [], samples[4:]])
    # The parts of two processes sum to the step.
    first, second = (gradients(selector, objective, [part], samples) for part in (samples[:2], samples[2:]))
    summed = (
        {name: first[0][name] + second[0][name] for name in losses},
        first[1] + second[1],
        {name: first[2][name] + second[2][name] for name in at_once},
    )
    for other_losses, other_shares, other in (in_parts, summed):
        assert other_losses == pytest.approx(losses, abs=1e-5)
        assert torch.allclose(other_shares, shares, atol=1e-6)
        for name, gradient in at_once.items():
            assert gradient.abs().max() > 0
            assert torch.allclose(other[name], gradient, atol=1e-6)


def test_the_terms_are_those_of_the_loss(selector, examples):
    """Against transformers' own loss, and the definition of the trash share."""
    example = examples[0]
    losses, shares, _ = gradients(selector, "nll", [[example]])
    ids = torch.tensor([example.ids])
    labels = torch.tensor([[i if r else -100 for i, r in zip(example.ids, example.response, strict=True)]])
    with torch.no_grad():
        assert losses["nll"] == pytest.approx(selector.model(ids, labels=labels).loss.item(), abs=1e-5)
    response = torch.tensor(example.response)
    for share, odds in zip(shares, selector.trash_can.log_odds((1, len(example.ids))), strict=True):
        kept = 1 / (1 + (-odds[0][response]).exp())
        assert share.item() == pytest.approx(1 - kept.mean().item(), abs=1e-5)


def test_the_contrast_is_that_of_the_quality_scores(selector, pairs):
    """Against the definition, from the log odds that the pass `routing` gives of examples and negatives."""
    losses, shares, _ = gradients(selector, "contrast", [pairs])
    reader = Reader(selector.tokenizer, selector.model, selector.trash_can)
    scores = [
        torch.tensor(routing.read(reader, encoded, 100)["log_odds"]).mean(dim=1)
        for encoded in ([pair.example for pair in pairs], [pair.negative for pair in pairs])
    ]
    expected = (1 + (1.0 - (scores[0] - scores[1])).exp()).log().mean()
    assert losses["contrast"] == pytest.approx(expected.item(), abs=1e-5)
    assert ((shares > 0) & (shares < 1)).all()


def test_the_gradient_of_the_contrast_is_that_through_the_whole_model(selector, pairs):
    """Against a forward pass that keeps its graph: with the gate open the rows act on the log odds only."""
    _, _, rows_only = gradients(selector, "contrast", [pairs[:2]])
    rows = selector.trash_can.trash_rows()
    selector.model.zero_grad()
    scores = []
    for encoded in [pair.example for pair in pairs[:2]] + [pair.negative for pair in pairs[:2]]:
        selector.model(torch.tensor([encoded.ids]))
        odds = selector.trash_can.log_odds((1, len(encoded.ids)))  # (L, 1, T)
        scores.append(odds[:, 0, torch.tensor(encoded.response)].mean())
    torch.stack([torch.nn.functional.softplus(1 - (scores[n] - scores[n + 2])) for n in range(2)]).mean().backward()
    for name, gradient in rows_only.items():
        assert torch.allclose(gradient, rows[name].grad, atol=1e-6)


def take_steps(selector, samples, objective, number, **settings):
    """Return the records of some steps on the same samples."""
    trash_can = selector.trash_can
    trained = trash_can.trash_rows() if objective == "contrastive" else trash_can.parameters()
    trash_can.gate = "open" if objective == "contrastive" else "learned"
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=0.1, weight_decay=0.0)
    warmup = Warmup.model_construct(objective=objective, **(SETTINGS | settings))
    records, progress = [], START
    for _ in range(number):
        args = (Accelerator(cpu=True), selector, optimizer, trained, samples, [samples], warmup, progress)
        record, progress = take_step(*args)
        records.append(record)
    return records, progress, optimizer, trained, warmup


def test_the_budget_brings_the_trash_shares_to_their_target(selector, examples):
    """The multipliers are summed up from the shares of the steps before, and the learning rate rises for 20 steps."""
    settings = {"trash_share": 0.1, "dual_rate": 0.5, "damping": 5.0, "learning_rate": 0.03}
    records, progress, optimizer, *_ = take_steps(selector, examples, "budget", 40, **settings)
    shares = torch.tensor([record["trash_shares"] for record in records])
    assert (shares[0] - 0.1).abs().min() > 0.05
    assert (shares[-1] - 0.1).abs().max() < 0.03
    expected = 0.5 * (shares - 0.1).cumsum(dim=0)
    assert records[0]["multipliers"] == [0, 0]
    assert torch.allclose(torch.tensor([record["multipliers"] for record in records[1:]]), expected[:-1], atol=1e-5)
    assert torch.allclose(progress.multipliers, expected[-1], atol=1e-5)
    assert [record["step"] for record in records] == list(range(40))
    assert optimizer.param_groups[0]["lr"] == 0.03


def test_the_plain_loss_has_no_penalties(selector, examples):
    records, progress, optimizer, *_ = take_steps(selector, examples, "lm", 5)
    assert records[-1]["nll"] < records[0]["nll"]
    assert {record["budget"] for record in records} == {0.0}
    assert progress.multipliers.tolist() == [0, 0]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 5 / 20)


def test_the_contrast_ranks_examples_above_their_negatives(selector, conversations, examples):
    backwards = [[question, {**answer, "content": answer["content"][::-1]}] for question, answer in conversations]
    pairs = [Pair(*pair) for pair in zip(examples, encode(backwards, selector.tokenizer, 60), strict=True)]
    records, *_ = take_steps(selector, pairs, "contrastive", 40)
    assert records[-1]["contrast"] < 0.75 * records[0]["contrast"]
    assert "nll" not in records[0]


def test_a_step_resumes_from_saved_tensors_to_the_same_bits(selector, examples):
    _, progress, optimizer, trained, warmup = take_steps(selector, examples, "budget", 2)
    kept = progress._asdict() | state.moments(optimizer, trained) | state.values(trained)
    kept = {name: value.clone() for name, value in kept.items()}

    def step(optimizer, progress):
        args = (Accelerator(cpu=True), selector, optimizer, trained, examples, [examples], warmup, progress)
        record, _ = take_step(*args)
        return record, {name: parameter.detach().clone() for name, parameter in trained.items()}

    record, weights = step(optimizer, progress)
    fresh = torch.optim.AdamW(trained.values(), lr=0.1, weight_decay=0.0)
    state.set_values(kept, trained)
    state.set_moments(kept, fresh, trained)
    again, resumed = step(fresh, progress_of(kept))
    assert again == record
    assert all(torch.equal(resumed[name], weights[name]) for name in trained)
