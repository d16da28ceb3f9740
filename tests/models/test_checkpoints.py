import os
import subprocess

import pytest
import torch
from given.models import FAMILIES, random_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from moesift.errors import UserError
from moesift.models import checkpoints
from moesift.models.checkpoints import Selector
from moesift.models.experts import ONE_BY_ONE
from moesift.models.routers import TrashCan

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])


def as_loaded(family: str) -> torch.nn.Module:
    """A random model that computes as one that was loaded on a processor, to the last bit."""
    model = random_model(family)
    model.set_experts_implementation(ONE_BY_ONE)
    return model


def trained(family, tokenizer) -> Selector:
    """A selector whose routers and trash rows are not what attaching makes them."""
    model = as_loaded(family)
    selector = Selector(
        model, tokenizer, TrashCan(model, 0.5, "appended", 0), {"trash_ratio": 0.5, "role": "appended", "seed": 0}
    )
    with torch.no_grad():
        for parameter in selector.trash_can.parameters().values():
            parameter += 0.05
    return selector


@pytest.mark.parametrize("family", FAMILIES)
def test_an_epoch_gives_the_same_numbers_in_moesift_and_the_same_routers_in_transformers(family, tokenizer, tmp_path):
    selector = trained(family, tokenizer)
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})
    checkpoints.save(selector, tmp_path / "epoch-1", tmp_path / "epoch-0", {})
    loaded = checkpoints.load(tmp_path / "epoch-1")
    assert torch.equal(loaded.model(IDS).logits, selector.model(IDS).logits)
    for name, routing in selector.trash_can.routing.items():
        assert torch.equal(loaded.trash_can.routing[name].signal, routing.log_odds)

    plain, report = AutoModelForCausalLM.from_pretrained(tmp_path / "epoch-1", output_loading_info=True)
    assert not any(report.values())
    mine = {name: value for name, value in selector.model.state_dict().items() if not name.endswith("trash_weight")}
    for name, value in plain.state_dict().items():
        assert torch.equal(value, mine[name]), name


def test_ten_epochs_take_little_more_than_one(tokenizer, tmp_path):
    selector = trained("Olmoe", tokenizer)
    folders = [tmp_path / f"epoch-{number}" for number in range(10)]
    for previous, folder in zip([None, *folders], folders, strict=False):
        checkpoints.save(selector, folder, previous, {})

    def bytes_on_disk(*paths):  # du counts a hard-linked file once
        return int(subprocess.check_output(["du", "-cb", *paths]).split()[-2])

    frozen = sum(file.stat().st_size for file in folders[0].glob("frozen*"))
    own = sum((folders[0] / name).stat().st_size for name in checkpoints.OF_ONE_EPOCH)
    directories = 10 * os.stat(folders[0]).st_size
    rest = sum(f.stat().st_size for f in folders[0].iterdir()) - frozen - own
    assert bytes_on_disk(*folders) <= frozen + rest + 10 * own + directories
    assert len({file.stat().st_ino for folder in folders for file in folder.glob("frozen*")}) == 1


def test_linked_where_it_can_be_and_copied_where_it_cannot(tokenizer, tmp_path, monkeypatch):
    selector = trained("Olmoe", tokenizer)
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})

    def refuse(*_):
        raise OSError("this file system has no links")

    monkeypatch.setattr(os, "link", refuse)
    checkpoints.save(selector, tmp_path / "epoch-1", tmp_path / "epoch-0", {})
    first, second = (load_file(tmp_path / f"epoch-{n}" / "frozen.safetensors") for n in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "epoch-1/frozen.safetensors").stat().st_nlink == 1


def test_routers_are_float32_on_a_bf16_trunk(tokenizer, tmp_path):
    model = as_loaded("Olmoe").to(torch.bfloat16)
    selector = Selector(
        model, tokenizer, TrashCan(model, 0.5, "appended", 0), {"trash_ratio": 0.5, "role": "appended", "seed": 0}
    )
    with torch.no_grad():
        for parameter in selector.trash_can.parameters().values():
            parameter += 1e-5  # bf16 would round this away
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})
    loaded = checkpoints.load(tmp_path / "epoch-0")
    assert loaded.model.model.embed_tokens.weight.dtype == torch.bfloat16
    for name, parameter in loaded.trash_can.parameters().items():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, selector.trash_can.parameters()[name])
    assert torch.equal(loaded.model(IDS).logits, selector.model(IDS).logits)


def test_optimizer_state_comes_back(tokenizer, tmp_path):
    checkpoints.save(
        trained("Olmoe", tokenizer), tmp_path / "epoch-0", None, {"multipliers": torch.tensor([0.5, -0.5])}
    )
    assert checkpoints.load_optimizer(tmp_path / "epoch-0")["multipliers"].tolist() == [0.5, -0.5]


def test_a_broken_epoch_is_named(tokenizer, tmp_path):
    checkpoints.save(trained("Olmoe", tokenizer), tmp_path / "epoch-0", None, {})
    routers = tmp_path / "epoch-0" / checkpoints.ROUTERS
    routers.write_bytes(routers.read_bytes()[:100])
    with pytest.raises(UserError, match="epoch-0"):
        checkpoints.load(tmp_path / "epoch-0")
    with pytest.raises(UserError, match="nothing"):
        checkpoints.load(tmp_path / "nothing")


def test_a_partition_comes_back_as_a_partition(tokenizer, tmp_path):
    model = as_loaded("Olmoe")
    selector = Selector(
        model, tokenizer, TrashCan(model, 0.5, "partition", 0), {"trash_ratio": 0.5, "role": "partition", "seed": 0}
    )
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})
    loaded = checkpoints.load(tmp_path / "epoch-0")
    assert loaded.trash_can.roles == selector.trash_can.roles
    assert torch.equal(loaded.model(IDS).logits, selector.model(IDS).logits)
    assert torch.equal(loaded.trash_can.log_odds(IDS.shape), selector.trash_can.log_odds(IDS.shape))


def test_an_open_gate_stays_open(tokenizer, tmp_path):
    """What a contrast was trained with is what it is scored with: the model as it was before trash cans."""
    model = as_loaded("Olmoe")
    plain = model(IDS).logits
    settings = {"trash_ratio": 0.5, "role": "appended", "seed": 0, "gate": "open"}
    selector = Selector(model, tokenizer, TrashCan(model, 0.5, "appended", 0, "open"), settings)
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})
    loaded = checkpoints.load(tmp_path / "epoch-0")
    assert loaded.trash_can.gate == "open"
    assert torch.equal(loaded.model(IDS).logits, plain)
