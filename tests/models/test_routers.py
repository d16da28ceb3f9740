import math

import pytest
import torch
import transformers
from given.models import FAMILIES, random_model
from transformers import AutoModelForCausalLM, LlamaConfig

from moesift.errors import UserError
from moesift.models import routers
from moesift.models.routers import (
    TrashCan,
    expert_blocks,
    expert_roles,
    find_routers,
    freeze_all_but,
    has_routers,
    log_odds,
    read_routers,
)

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])


def test_log_odds_of_hand_made_logits():
    quality = torch.tensor([[math.log(1.0), math.log(3.0)]])
    trash = torch.tensor([[math.log(2.0)]])
    assert log_odds(quality, trash).item() == pytest.approx(math.log(4 / 2), abs=1e-6)
    assert log_odds(quality + 7, trash + 7).item() == pytest.approx(math.log(2), abs=1e-5)
    assert torch.sigmoid(log_odds(quality, torch.full((1, 2), -torch.inf))).item() == 1


@pytest.mark.parametrize(
    ("experts", "ratio", "role", "quality", "trash"),
    [
        (64, 0.25, "appended", range(64), range(64, 80)),
        (8, 0.01, "appended", range(8), range(8, 9)),  # never none
        (8, 0.25, "partition", range(6), range(6, 8)),
        (10, 0.39, "partition", range(7), range(7, 10)),  # rounds down
    ],
)
def test_roles_by_ratio(experts, ratio, role, quality, trash):
    roles = expert_roles(experts, ratio, role)
    assert (roles.quality, roles.trash) == (quality, trash)


def test_a_partition_without_trash_is_refused():
    with pytest.raises(UserError, match=r"0\.05 of 8 experts makes 0 trash-can experts"):
        expert_roles(8, 0.05, "partition")


def test_a_model_without_routers_is_refused():
    dense = AutoModelForCausalLM.from_config(
        LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    with pytest.raises(UserError, match=r"has no routers: take a Mixture-of-Experts.*or set selector.upcycle"):
        find_routers(dense)


def test_routers_are_known_from_the_configuration():
    assert all(has_routers(getattr(transformers, f"{family}Config")()) for family in FAMILIES)
    assert not any(has_routers(config()) for config in (LlamaConfig, transformers.GPT2Config))
    with pytest.raises(UserError, match="transformers knows no causal language model t5"):
        has_routers(transformers.T5Config())


@pytest.mark.parametrize("family", FAMILIES)
def test_trash_cans_that_keep_everything_change_nothing_in_any_family(family, monkeypatch):
    model = random_model(family)
    before = model(IDS).logits
    trash_can = TrashCan(model, 0.5, "appended", seed=0)
    assert (model(IDS).logits - before).abs().max() > 1e-5  # otherwise they change the output
    monkeypatch.setattr(routers, "log_odds", lambda z, u: log_odds(z, torch.full_like(u, -torch.inf)))
    assert torch.equal(model(IDS).logits, before)
    assert len(trash_can.routing) == len(trash_can.routers)


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_stops_at_the_last_router_with_the_same_result_in_any_family(family):
    model = random_model(family)
    trash_can = TrashCan(model, 0.5, "appended", seed=0)
    ran = []
    *_, last = trash_can.routers
    for name in ("lm_head", last.rpartition(".")[0]):
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    read = trash_can.read(IDS, lambda routing: routing.log_odds.clone())
    assert not ran
    assert not trash_can.routing
    model(IDS)
    assert len(ran) == 2
    assert torch.equal(torch.stack(read).view(-1, *IDS.shape), trash_can.log_odds(IDS.shape))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_of_a_model_as_it_came_are_those_of_transformers(family):
    model = random_model(family)
    with torch.no_grad():
        expected = model(IDS, output_router_logits=True).router_logits
        found = read_routers(model.base_model, find_routers(model), IDS, lambda _, logits: logits)
        assert model(IDS).logits.shape[-1] == 320  # it runs to its end again
    assert len(found) == len(expected)
    assert all(torch.equal(one, other.view(one.shape)) for one, other in zip(found, expected, strict=True))


def test_a_router_that_did_not_run_is_an_error():
    trash_can = TrashCan(random_model("Olmoe"), 0.5, "appended", seed=0)
    trash_can.routers["beside"] = torch.nn.Linear(1, 1)
    with pytest.raises(RuntimeError, match=r"2 of 3 routers ran"):
        trash_can.read(IDS, lambda routing: routing.log_odds)


def test_without_renormalisation_the_keep_share_is_a_softmax_over_all_experts():
    """OLMoE: kappa times softmax(z) equals the first E entries of softmax(z and u)."""
    model = random_model("Olmoe")
    trash_can = TrashCan(model, 0.5, "appended", seed=0)
    router = next(iter(trash_can.routers.values()))
    hidden = torch.randn(7, 32, generator=torch.Generator().manual_seed(1))
    _, weights, experts = router(hidden)
    logits = hidden @ torch.cat([router.weight, router.trash_weight]).T  # (7, E + T)
    expected = logits.softmax(dim=-1).gather(1, experts)
    assert torch.allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_partition_zeroes_the_last_experts_in_any_family(family):
    trash_can = TrashCan(random_model(family), 0.5, "partition", seed=0)
    for router in trash_can.routers.values():
        _, weights, experts = router(torch.randn(64, 32, generator=torch.Generator().manual_seed(1)))
        assert (experts >= 2).any()
        assert weights[experts >= 2].abs().max() == 0
        assert weights[experts < 2].abs().min() > 0
    assert not any("trash_weight" in name for name in trash_can.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_only_routers_learn_in_any_family(family):
    model = random_model(family)
    trash_can = TrashCan(model, 0.5, "appended", seed=0)
    trained = trash_can.parameters()
    freeze_all_but(model, trained)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(trained.values(), lr=1.0)
    model(IDS, labels=IDS).loss.backward()
    optimizer.step()
    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(trained)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_of_experts_hold_all_routers_and_experts_and_no_attention(family):
    model = random_model(family)
    inside = {id(parameter) for block in expert_blocks(model) for parameter in block.parameters()}
    named = dict(model.named_parameters())
    routers = [value for router in find_routers(model).values() for value in router.parameters()]
    experts = [parameter for parameter in named.values() if parameter.ndim == 3]
    assert experts
    assert {id(parameter) for parameter in (*routers, *experts)} <= inside
    assert not [name for name, parameter in named.items() if "attn" in name and id(parameter) in inside]
