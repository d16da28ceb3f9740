import pytest
import torch
from given.models import FAMILIES, random_model

from moesift.models.batches import collate
from moesift.models.chat import encode
from moesift.models.checkpoints import Selector
from moesift.models.routers import TrashCan
from moesift.scoring import losses, measuring
from moesift.scoring.measurements import TOGETHER

START = 7


def measured(selector, examples, budget):
    """Everything that is measured with forward passes, a list of numbers an example."""
    pad = selector.tokenizer.pad_token_id
    return torch.tensor(
        [
            [*signals, *inputs, *usage, nats, alone]
            for (signals, inputs, usage), nats, alone in zip(
                measuring.readings(selector, examples, ["signals", "inputs", "usage"], budget),
                losses.nats(selector.model, pad, examples, budget),
                losses.nats_alone(selector.model, pad, START, examples, budget),
                strict=True,
            )
        ]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_depends_on_batches_or_order(family, tokenizer, conversations):
    model = random_model(family)
    selector = Selector(model, tokenizer, TrashCan(model, 0.5, "appended", 0), {})
    examples = encode(conversations, tokenizer, 60)
    alone = measured(selector, examples, budget=1)
    assert (measured(selector, examples, budget=10_000) - alone).abs().max() < 1e-4
    assert (measured(selector, examples[::-1], budget=200).flip(0) - alone).abs().max() < 1e-4
    assert (alone.max(dim=0).values - alone.min(dim=0).values).min() > 1e-5


def test_a_signal_is_the_mean_log_odds_of_the_response_tokens(selector, conversations):
    """Against the definition, computed from the router's weights and what the router reads."""
    (example,) = encode(conversations[:1], selector.tokenizer, 60)
    ((by_layer, everywhere, used),) = measuring.readings(selector, [example], ["signals", "signals_all", "usage"], 100)
    read = {}
    for name, router in selector.trash_can.routers.items():
        router.register_forward_pre_hook(lambda _, inputs, name=name: read.__setitem__(name, inputs[0].view(-1, 32)))
    with torch.no_grad():
        selector.model(torch.tensor([example.ids]))
    response = torch.tensor(example.response)
    for layer, (name, router) in enumerate(selector.trash_can.routers.items()):
        logits = read[name] @ router.weight.T
        odds = logits.exp().sum(dim=1).log() - (read[name] @ router.trash_weight.T).exp().sum(dim=1).log()
        assert by_layer[layer] == pytest.approx(odds[response].mean().item(), abs=1e-5)
        assert everywhere[layer] == pytest.approx(odds.mean().item(), abs=1e-5)
        shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
        assert used[4 * layer : 4 * layer + 4] == pytest.approx(shares[response].mean(dim=0).tolist(), abs=1e-5)
    assert len(by_layer) == 2


def test_padding_never_reaches_a_signal(selector, conversations):
    """The padded rows of a batch give the log odds of the examples alone."""
    short, long = sorted(encode(conversations, selector.tokenizer, 60), key=lambda e: len(e.ids))[::5]
    batch = collate([long, short], selector.tokenizer.pad_token_id)
    with torch.no_grad():
        selector.model(batch.ids)  # without a mask, as all that is measured runs
        together = selector.trash_can.log_odds(batch.ids.shape)[:, 1, : len(short.ids)]
        selector.model(torch.tensor([short.ids]))
    assert torch.allclose(together, selector.trash_can.log_odds((1, len(short.ids)))[:, 0], atol=1e-5)


def test_the_inputs_are_what_the_routers_multiply(selector, conversations):
    """Of one response token the logits of the first router follow from the inputs and its rows."""
    (example,) = encode([[conversations[0][0], {"role": "assistant", "content": ""}]], selector.tokenizer, 60)
    ((inputs,),) = measuring.readings(selector, [example], ["inputs"], 100)
    name, router = next(iter(selector.trash_can.routers.items()))
    rows = router.get_parameter("weight")  # (E, D)
    found = rows @ torch.tensor(inputs[: rows.shape[1]])
    with torch.no_grad():
        selector.model(torch.tensor([example.ids]))
    expected = selector.trash_can.routing[name].quality_logits[torch.tensor(example.response)]  # (1, E)
    assert sum(example.response) == 1
    assert torch.allclose(found, expected[0], atol=1e-5)


def test_all_readings_come_from_one_pass(selector, conversations):
    """And each is what it is alone, last digit included; what costs are counted from says so too."""
    assert set(measuring.READINGS) in map(set, TOGETHER)
    examples = encode(conversations, selector.tokenizer, 60)
    passes = []
    selector.model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    names = list(measuring.READINGS)
    together = measuring.readings(selector, examples, names, 10_000)
    assert len(passes) == 1
    for place, name in enumerate(names):
        alone = measuring.readings(selector, examples, [name], 10_000)
        assert [row[place] for row in together] == [value for (value,) in alone]
    assert len({str(value) for value in together[0]}) == len(names)
