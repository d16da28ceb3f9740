import numpy as np
import pytest
import torch
from given.models import FAMILIES, random_model

from moesift.models import losses
from moesift.models.chat import encode
from moesift.models.routers import TrashCan
from moesift.passes import gates, likelihood, representation, representation_middle, router_logits, routing
from moesift.passes.reader import Reader


@pytest.fixture
def reader(selector):
    return Reader(selector.tokenizer, selector.model, selector.trash_can)


@pytest.fixture
def plain(tokenizer):
    return Reader(tokenizer, random_model("Olmoe"), None)


def numbers(values):
    """Return all columns of a pass as one tensor, a row an example."""
    rows = zip(*values.values(), strict=True)
    return torch.tensor([np.hstack(row).tolist() for row in rows])


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_depends_on_batches_or_order(family, tokenizer, conversations):
    model = random_model(family)
    reader = Reader(tokenizer, model, TrashCan(model, 0.5, "appended", 0))
    examples = encode(conversations, tokenizer, 60)
    passes = {likelihood: 1e-4, routing: 1e-4, gates: 1e-4, router_logits: 1e-4}
    passes |= {representation: 6e-4, representation_middle: 6e-4}  # a step of float16 below 1
    for one, step in passes.items():
        alone = numbers(one.read(reader, examples, 1))
        assert (numbers(one.read(reader, examples, 10_000)) - alone).abs().max() < step
        assert (numbers(one.read(reader, examples[::-1], 200)).flip(0) - alone).abs().max() < step
        assert (alone.max(dim=0).values - alone.min(dim=0).values).min() > 1e-5


def test_losses_are_those_of_transformers(plain, conversations):
    """The two losses of the published IFD: given the instruction, and of the response alone behind a start token."""
    examples = encode(conversations, plain.tokenizer, 60)
    values = likelihood.read(plain, examples, 100)
    for example, nll, unconditional, end in zip(
        examples, values["nll"], values["nll_unconditional"], values["nll_end"], strict=True
    ):
        answer = [token for token, is_response in zip(example.ids, example.response, strict=True) if is_response]
        start = len(example.ids) - len(answer)
        for ids, labels, value in (
            (example.ids, [-100] * start + answer, nll),
            ([plain.tokenizer.eos_token_id, *answer], [-100, *answer], unconditional),
        ):
            with torch.no_grad():
                mean = plain.model(torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()
            assert value / len(answer) == pytest.approx(mean, abs=1e-5)
        with torch.no_grad():
            logits = plain.model(torch.tensor([example.ids])).logits[0, -2]
        assert end == pytest.approx(-logits.log_softmax(-1)[example.ids[-1]].item(), abs=1e-5)


def test_hidden_keeps_the_distances_of_what_the_middle_router_reads(plain, conversations):
    examples = encode(conversations, plain.tokenizer, 60)
    hidden = torch.tensor(likelihood.read(plain, examples, 100)["hidden"])
    inputs = []
    plain.model.model.layers[1].mlp.gate.register_forward_pre_hook(
        lambda _, given: inputs.append(given[0].view(-1, 32))
    )
    means = []
    for example in examples:
        with torch.no_grad():
            plain.model(torch.tensor([example.ids]))
        means.append(inputs[-1][torch.tensor(example.response)].mean(dim=0))
    means = torch.stack(means)
    assert hidden.shape == (len(examples), likelihood.HIDDEN)
    assert torch.allclose(torch.cdist(hidden, hidden), torch.cdist(means, means), rtol=0.35)


def test_gates_open_and_shut_whatever_the_routers_learnt(reader, plain, conversations):
    """Open is the model before the trash cans were attached; shut is that model with experts that give nothing."""
    examples = encode(conversations[:2], reader.tokenizer, 60)
    values = gates.read(reader, examples, 1000)
    assert reader.trash_can.gate == "learned"
    pad = reader.tokenizer.pad_token_id
    assert values["nll_open"] == pytest.approx(losses.nll(plain.model, pad, examples, 1000), abs=1e-6)
    with torch.no_grad():
        for name, parameter in plain.model.named_parameters():
            if "experts.down_proj" in name:
                parameter.zero_()
    assert values["nll_shut"] == pytest.approx(losses.nll(plain.model, pad, examples, 1000), abs=1e-6)
    trained = likelihood.read(reader, examples, 1000)["nll"]
    assert len({round(column[0], 4) for column in (*values.values(), trained)}) == 3


def test_routing_is_the_mean_log_odds(reader, conversations):
    """Against the definition, computed from the router's weights and what the router reads, in one forward pass."""
    (example,) = encode(conversations[:1], reader.tokenizer, 60)
    passes, inputs = [], {}
    reader.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    values = routing.read(reader, [example], 100)
    assert len(passes) == 1
    for name, router in reader.trash_can.routers.items():
        router.register_forward_pre_hook(lambda _, given, name=name: inputs.__setitem__(name, given[0].view(-1, 32)))
    with torch.no_grad():
        reader.model(torch.tensor([example.ids]))
    response = torch.tensor(example.response)
    for layer, (name, router) in enumerate(reader.trash_can.routers.items()):
        logits = inputs[name] @ router.weight.T
        odds = logits.exp().sum(dim=1).log() - (inputs[name] @ router.trash_weight.T).exp().sum(dim=1).log()
        assert values["log_odds"][0][layer] == pytest.approx(odds[response].mean().item(), abs=1e-5)
        assert values["log_odds_all"][0][layer] == pytest.approx(odds.mean().item(), abs=1e-5)
    assert len(values["log_odds"][0]) == 2


def test_representations_are_poolings_of_the_hidden_states_of_transformers(plain, conversations):
    """Over prompt and response, one example at a time: directions, to what float16 keeps of them."""
    examples = encode(conversations, plain.tokenizer, 60)
    last, middle = (one.read(plain, examples, 200) for one in (representation, representation_middle))
    inputs = []
    plain.model.model.layers[1].mlp.gate.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    for row, example in enumerate(examples):
        with torch.no_grad():
            states = plain.model(torch.tensor([example.ids]), output_hidden_states=True).hidden_states[-1][0]
        places = torch.arange(1.0, len(states) + 1)
        for values, hidden in ((last, states), (middle, inputs[-1].view(-1, 32))):
            pooled = (places @ hidden, hidden.mean(dim=0), hidden[-1])
            for name, vector in zip(("weighted", "mean", "last_token"), pooled, strict=True):
                assert values[name][row].dtype == np.float16
                assert values[name][row] == pytest.approx((vector / vector.norm()).tolist(), abs=5e-4)


def test_vectors_that_float16_cannot_hold_keep_their_directions(plain, conversations):
    examples = encode(conversations, plain.tokenizer, 60)
    expected = numbers(representation.read(plain, examples, 200))
    with torch.no_grad():
        plain.model.model.norm.weight.mul_(1e7)
    assert (numbers(representation.read(plain, examples, 200)) - expected).abs().max() < 5e-4


def test_router_logits_are_those_of_transformers(plain, conversations):
    examples = encode(conversations, plain.tokenizer, 60)
    values = router_logits.read(plain, examples, 200)
    for row, example in enumerate(examples):
        with torch.no_grad():
            layers = plain.model(torch.tensor([example.ids]), output_router_logits=True).router_logits
        each = torch.cat(layers, dim=1)  # (T, L * E)
        places = torch.arange(1.0, len(each) + 1)
        assert values["weighted"][row] == pytest.approx((places @ each / places.sum()).tolist(), abs=1e-5)
        assert values["last_token"][row] == pytest.approx(each[-1].tolist(), abs=1e-5)
