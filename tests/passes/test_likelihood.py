import pytest
import torch
from given.models import random_model

from moesift.models.chat import encode
from moesift.scoring import losses, measuring

START = 7


def test_nats_are_those_of_transformers_own_loss(selector, conversations):
    """The two losses of the published IFD: given the instruction, and of the response alone behind a start token."""
    model, pad = selector.model, selector.tokenizer.pad_token_id
    examples = encode(conversations, selector.tokenizer, 60)
    given = losses.nats(model, pad, examples, 100)
    alone = losses.nats_alone(model, pad, START, examples, 100)
    for example, with_instruction, without in zip(examples, given, alone, strict=True):
        answer = [token for token, is_response in zip(example.ids, example.response, strict=True) if is_response]
        start = len(example.ids) - len(answer)
        for ids, labels, found in (
            (example.ids, [-100] * start + answer, with_instruction),
            ([START, *answer], [-100, *answer], without),
        ):
            with torch.no_grad():
                mean = model(torch.tensor([ids]), labels=torch.tensor([labels])).loss.item()
            assert found / len(answer) == pytest.approx(mean, abs=1e-5)


def test_the_gate_can_be_held_open_and_shut(selector, conversations):
    """Open is the model before the trash cans were attached; shut is that model with experts that give nothing."""
    examples = encode(conversations[:2], selector.tokenizer, 60)
    pad = selector.tokenizer.pad_token_id
    found = {}
    for gate in ("learned", "open", "shut"):
        selector.trash_can.gate = gate
        found[gate] = losses.nats(selector.model, pad, examples, 1000)
    plain = random_model("Olmoe")
    assert found["open"] == pytest.approx(losses.nats(plain, pad, examples, 1000), abs=1e-6)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if "experts.down_proj" in name:
                parameter.zero_()
    assert found["shut"] == pytest.approx(losses.nats(plain, pad, examples, 1000), abs=1e-6)
    assert len({round(values[0], 4) for values in found.values()}) == 3


def test_a_sketch_keeps_distances_and_is_of_the_response_alone(selector, conversations):
    """Against the inputs that a warm-up's trash cans read, of the same layer."""
    examples = encode(conversations, selector.tokenizer, 60)
    layers = len(selector.trash_can.routers)
    read = torch.tensor(measuring.readings(selector, examples, ["inputs"], 100))
    inputs = read.view(len(examples), layers, -1)[:, layers // 2]
    model, pad = random_model("Olmoe"), selector.tokenizer.pad_token_id
    found = losses.nats_end_and_sketch(model, pad, examples, 100)
    both = losses.nats_and_end(model, pad, examples, 100)
    assert [row[:2] for row in found] == [pytest.approx(tuple(row), abs=1e-6) for row in both]
    sketches = torch.tensor([sketch for *_, sketch in found])
    assert sketches.shape == (len(examples), losses.SKETCH)
    assert torch.allclose(torch.cdist(sketches, sketches), torch.cdist(inputs, inputs), rtol=0.35)
    again = losses.nats_end_and_sketch(model, pad, examples[:1], 0)
    assert again[0][2] == pytest.approx(found[0][2], abs=1e-5)
