"""Where a training stands inside its job, so that one that was killed goes on instead of beginning anew.

Snakemake deletes the declared outputs of a job that failed, so states are kept beside them:

{folder}/step-{n}/tensors.safetensors      parameters, the optimizer's moments, random states
{folder}/step-{n}/state.json               which job it is a state of, and what the job had to say until then

Whatever has the name of a state is whole. The last two are kept: the older one serves where the newer one turns out to
be damaged.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter

from moesift.errors import UserError, full_disk, is_full
from moesift.files import LOCK, atomic_write, lock

KEPT = 2
TENSORS = "tensors.safetensors"
SETTINGS = "state.json"


class State(NamedTuple):
    """What `save` was given."""

    step: int
    tensors: dict[str, Tensor]
    told: Any


def fingerprint(settings: dict[str, Any], *parts: Iterable[Any]) -> str:
    """Return what tells one job from another: a digest of its settings and of what it reads, in their order."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for part in parts:
        for piece in part:
            digest.update(repr(piece).encode())
    return digest.hexdigest()


def claim(folder: Path) -> None:
    """Keep the states of a job to this process until it ends.

    Raises:
        UserError: another process trains the same: a job may outlive the Snakemake that started it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock(folder / LOCK)
    except BlockingIOError:
        raise UserError(
            f"{folder}: another process is still at this training, left by a Snakemake that was killed; wait for its "
            "end, or end it, and run the same command again"
        ) from None
    except OSError as error:
        if is_full(error):
            raise full_disk(folder) from None
        print(f"{folder}: cannot be locked, and a second training of it would not be noticed: {error}", file=sys.stderr)


def save(folder: Path, job: str, state: State) -> None:
    """Write a state so that it is there whole or not at all, and remove all but the last two.

    Args:
        folder: of the job's states.
        job: of `fingerprint`.
        state: `told` is anything that JSON can say.
    """
    with atomic_write(folder / f"step-{state.step}") as part:
        part.mkdir()
        save_file({name: value.contiguous() for name, value in state.tensors.items()}, part / TENSORS)
        (part / SETTINGS).write_text(json.dumps({"job": job, "told": state.told}) + "\n")
    for step in _steps(folder)[KEPT:]:
        shutil.rmtree(folder / f"step-{step}")


def newest(folder: Path, job: str) -> State | None:
    """Return the last whole state of a job, None where there is none; what is passed over is said on standard error."""
    for step in _steps(folder):
        place = folder / f"step-{step}"
        try:
            settings = json.loads((place / SETTINGS).read_text())
            tensors = load_file(place / TENSORS)
        except (OSError, ValueError, SafetensorError) as error:
            print(f"{place}: a damaged state is passed over: {error}", file=sys.stderr)
            continue
        if settings["job"] == job:
            return State(step, tensors, settings["told"])
        print(f"{place}: a state of another configuration, data or code is passed over", file=sys.stderr)
    return None


def moments(optimizer: torch.optim.Optimizer, trained: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """Return Adam's moments as named tensors, for safetensors."""
    return {
        f"{key}/{name}": value.detach().cpu()
        for name, parameter in trained.items()
        for key, value in optimizer.state[parameter].items()
    }


def set_moments(
    tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, trained: Mapping[str, Parameter]
) -> None:
    """Put the moments of `moments` back into the optimizer."""
    for name, parameter in trained.items():
        optimizer.state[parameter] = {
            "step": tensors[f"step/{name}"],
            "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device),
            "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device),
        }


def values(trained: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """Return what is trained as named tensors, for safetensors."""
    return {f"value/{name}": parameter.detach().cpu() for name, parameter in trained.items()}


def set_values(tensors: Mapping[str, Tensor], trained: Mapping[str, Parameter]) -> None:
    """Put the values of `values` back."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[f"value/{name}"])


def remove(folder: Path) -> None:
    """Remove all states of a job that is done."""
    shutil.rmtree(folder, ignore_errors=True)


def _steps(folder: Path) -> list[int]:
    """Return the steps of the whole states, the last first."""
    return sorted((int(place.name.removeprefix("step-")) for place in folder.glob("step-*")), reverse=True)
