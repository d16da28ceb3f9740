"""An epoch of the warm-up on disk: a complete model directory that plain transformers loads, in little space.

config.json, tokenizer files          as transformers writes them
frozen*.safetensors                   the frozen weights: hard links to the files of epoch 0
routers.safetensors                   the routers in float32, under transformers' names
model.safetensors.index.json          joins the two for transformers
trash_experts.safetensors             the trash-can rows in float32, which plain transformers does not read
optimizer.safetensors                 the state that the next epoch starts from: Adam's moments and the multipliers
selector.json                         how the trash-can experts are attached
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.core_model_loading import revert_weight_conversion

from moesift.errors import UserError
from moesift.models.loading import load_model, require_complete
from moesift.models.routers import Gate, Role, TrashCan

ROUTERS = "routers.safetensors"
TRASH = "trash_experts.safetensors"
INDEX = "model.safetensors.index.json"
OPTIMIZER = "optimizer.safetensors"
SETTINGS = "selector.json"
OF_ONE_EPOCH = (ROUTERS, INDEX, TRASH, OPTIMIZER)  # all other files are the same in every epoch


@dataclass(frozen=True)
class Selector:
    """A selector in memory: the model with its trash-can experts attached, and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    trash_can: TrashCan
    settings: dict[str, str | float | int]  # the arguments of `TrashCan`


def attach(
    model: str, trash_ratio: float, role: Role, seed: int, gate: Gate = "learned", dtype: str | None = None
) -> Selector:
    """Load a model, as `load_model` does, and attach new trash-can experts: the state of epoch 0."""
    loaded, tokenizer = load_model(model, dtype)
    return Selector(
        loaded,
        tokenizer,
        TrashCan(loaded, trash_ratio, role, seed, gate),
        {"trash_ratio": trash_ratio, "role": role, "seed": seed, "gate": gate},
    )


def load(folder: Path) -> Selector:
    """Load an epoch as `save` wrote it: float32 routers and trash rows on the frozen model.

    Raises:
        UserError: the folder is not an epoch, or one of its files is incomplete.
    """
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        selector = attach(str(folder), **settings)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise _incomplete(folder, error) from error
    load_router_weights(selector, folder)
    return selector


def load_router_weights(selector: Selector, folder: Path) -> None:
    """Give a selector the routers and trash rows of another epoch of its warm-up; nothing else differs between epochs.

    Raises:
        UserError: the folder is not an epoch of this warm-up, or one of its files is incomplete.
    """
    require_complete(folder)
    try:
        routers = load_file(folder / ROUTERS)
        names = _names_on_disk(selector)
        values = {name: routers[names[name]] for name in names} | load_file(folder / TRASH)
    except (OSError, KeyError) as error:
        raise _incomplete(folder, error) from error
    with torch.no_grad():
        for name, parameter in selector.trash_can.parameters().items():
            parameter.copy_(values[name])


def save(selector: Selector, folder: Path, previous: Path | None, optimizer: dict[str, Tensor]) -> None:
    """Write an epoch. The frozen weights are hard links to those of the previous epoch, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    trained = {name: value.detach().cpu() for name, value in selector.trash_can.parameters().items()}
    names = _names_on_disk(selector)
    if previous is None:
        frozen = {name: value for name, value in selector.model.state_dict().items() if name not in trained}
        selector.model.save_pretrained(folder, state_dict=frozen)
        for file in folder.glob("model*.safetensors"):
            # Given a model.safetensors, transformers reads that file alone and ignores the index.
            file.rename(folder / file.name.replace("model", "frozen"))
        selector.tokenizer.save_pretrained(folder)
        (folder / SETTINGS).write_text(json.dumps(selector.settings, indent=2) + "\n")
    else:
        for file in previous.iterdir():
            if file.is_file() and file.name not in OF_ONE_EPOCH and not file.name.startswith("."):
                _link_or_copy(file, folder / file.name)
    save_file({names[name]: trained[name].contiguous() for name in names}, folder / ROUTERS, {"format": "pt"})
    save_file({name: value for name, value in trained.items() if name not in names}, folder / TRASH, {"format": "pt"})
    save_file(optimizer, folder / OPTIMIZER)
    _write_index(folder)


def load_optimizer(folder: Path) -> dict[str, Tensor]:
    """Return the tensors that `save` got as the optimizer's state; empty after epoch 0."""
    try:
        return load_file(folder / OPTIMIZER)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / OPTIMIZER}: cannot be read: {error}") from error


def _incomplete(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder}: not a complete checkpoint of a warm-up epoch: {error}")


def _names_on_disk(selector: Selector) -> dict[str, str]:
    """Map the routers' names in memory to transformers' names on disk, which differ in some families.

    transformers renames a state, not names. So each router is given a number as its weight, and the renamed state tells
    which number has which name.
    """
    names = [name for name in selector.trash_can.parameters() if name not in selector.trash_can.trash_rows()]
    numbered = {name: torch.tensor([number]) for number, name in enumerate(names)}
    return {names[int(number)]: name for name, number in revert_weight_conversion(selector.model, numbered).items()}


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the file system has no links
        shutil.copy2(source, target)


def _write_index(folder: Path) -> None:
    weight_map, size = {}, 0
    for file in (*sorted(folder.glob("frozen*.safetensors")), folder / ROUTERS):
        size += file.stat().st_size
        with safe_open(file, framework="pt") as tensors:
            weight_map |= dict.fromkeys(tensors.keys(), file.name)
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")
