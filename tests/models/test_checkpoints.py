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


def selector_of(family: str, tokenizer, dtype=torch.float32, **settings) -> Selector:
    """A selector that computes like a loaded one, to the last bit."""
    model = random_model(family).to(dtype)
    model.set_experts_implementation(ONE_BY_ONE)
    settings = {"trash_ratio": 0.5, "role": "appended", "seed": 0} | settings
    return Selector(model, tokenizer, TrashCan(model, **settings), settings)


def trained(family, tokenizer, change: float = 0.05, **settings) -> Selector:
    """A selector whose routers and trash rows have changed since they were attached."""
    selector = selector_of(family, tokenizer, **settings)
    with torch.no_grad():
        for parameter in selector.trash_can.parameters().values():
            parameter += change
    return selector


def saved_and_loaded(selector: Selector, folder) -> Selector:
    checkpoints.save(selector, folder, None, {})
    return checkpoints.load(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_epoch_gives_the_same_numbers_in_moesift_and_the_same_routers_in_transformers(family, tokenizer, tmp_path):
    selector = trained(family, tokenizer)
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})
    checkpoints.save(selector, tmp_path / "epoch-1", tmp_path / "epoch-0", {})
    loaded = checkpoints.load(tmp_path / "epoch-1")
    assert torch.equal(loaded.model(IDS).logits, selector.model(IDS).logits)
    for name, routing in selector.trash_can.routing.items():
        assert torch.equal(loaded.trash_can.routing[name].log_odds, routing.log_odds)

    plain, report = AutoModelForCausalLM.from_pretrained(tmp_path / "epoch-1", output_loading_info=True)
    assert not any(report.values())
    state = selector.model.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, state[name]), name


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


def test_frozen_weights_are_copied_where_the_file_system_has_no_links(tokenizer, tmp_path, monkeypatch):
    selector = trained("Olmoe", tokenizer)
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})

    def refuse(*_):
        raise OSError("no links")

    monkeypatch.setattr(os, "link", refuse)
    checkpoints.save(selector, tmp_path / "epoch-1", tmp_path / "epoch-0", {})
    first, second = (load_file(tmp_path / f"epoch-{n}" / "frozen.safetensors") for n in (0, 1))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "epoch-1/frozen.safetensors").stat().st_nlink == 1


def test_routers_are_float32_in_a_bf16_model(tokenizer, tmp_path):
    selector = trained("Olmoe", tokenizer, change=1e-5, dtype=torch.bfloat16)  # bf16 would round the change away
    loaded = saved_and_loaded(selector, tmp_path / "epoch-0")
    assert loaded.model.model.embed_tokens.weight.dtype == torch.bfloat16
    for name, parameter in loaded.trash_can.parameters().items():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, selector.trash_can.parameters()[name])
    assert torch.equal(loaded.model(IDS).logits, selector.model(IDS).logits)


def test_the_optimizer_state_is_kept(tokenizer, tmp_path):
    multipliers = torch.tensor([0.5, -0.5])
    checkpoints.save(trained("Olmoe", tokenizer), tmp_path / "epoch-0", None, {"multipliers": multipliers})
    assert torch.equal(checkpoints.load_optimizer(tmp_path / "epoch-0")["multipliers"], multipliers)


def test_an_incomplete_epoch_is_one_error(tokenizer, tmp_path):
    checkpoints.save(trained("Olmoe", tokenizer), tmp_path / "epoch-0", None, {})
    routers = tmp_path / "epoch-0" / checkpoints.ROUTERS
    routers.write_bytes(routers.read_bytes()[:100])
    with pytest.raises(UserError, match="epoch-0"):
        checkpoints.load(tmp_path / "epoch-0")
    with pytest.raises(UserError, match="nothing"):
        checkpoints.load(tmp_path / "nothing")


def test_a_partition_is_loaded_as_a_partition(tokenizer, tmp_path):
    selector = selector_of("Olmoe", tokenizer, role="partition")
    loaded = saved_and_loaded(selector, tmp_path / "epoch-0")
    assert loaded.trash_can.roles == selector.trash_can.roles
    assert torch.equal(loaded.model(IDS).logits, selector.model(IDS).logits)
    assert torch.equal(loaded.trash_can.log_odds(IDS.shape), selector.trash_can.log_odds(IDS.shape))


def test_an_open_gate_stays_open(tokenizer, tmp_path):
    """The contrastive objective trains, and is scored, with the model as it was without trash cans."""
    plain = random_model("Olmoe")
    plain.set_experts_implementation(ONE_BY_ONE)
    loaded = saved_and_loaded(selector_of("Olmoe", tokenizer, gate="open"), tmp_path / "epoch-0")
    assert loaded.trash_can.gate == "open"
    assert torch.equal(loaded.model(IDS).logits, plain(IDS).logits)
