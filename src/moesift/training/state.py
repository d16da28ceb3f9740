"""The saved states of a training job, from which a killed job resumes.

Snakemake deletes the declared outputs of a failed job, so states are stored next to them:

{folder}/step-{n}/tensors.safetensors      parameters and the optimizer's moments
{folder}/step-{n}/state.json               the fingerprint of the job, and the job's records until then

A state that has its name is complete. The last two are kept, in case the newer one is damaged.
"""

import hashlib
import json
import shutil
import sys
import time
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
    """A job after some optimizer steps."""

    step: int
    tensors: Mapping[str, Tensor]
    records: Any  # JSON


class States:
    """The saved states of one job. All of its processes read them; only the main one writes them."""

    def __init__(self, folder: Path, job: str, is_main: bool = True, every: float = 0) -> None:
        """Open the folder of a job's states, for this job alone until its main process ends.

        Args:
            folder: of the states.
            job: of `fingerprint`; states of other jobs are ignored.
            is_main: whether this is the main process.
            every: seconds from one state to the next.

        Raises:
            UserError: another process trains the same: a job may outlive the Snakemake that started it.
        """
        self.folder, self.job, self.is_main, self.every = folder, job, is_main, every
        self.last = time.monotonic()
        if is_main:
            _claim(folder)

    def newest(self) -> State | None:
        """Return the last complete state of this job, None if there is none; report skipped ones on standard error."""
        for step in self._steps():
            place = self.folder / f"step-{step}"
            try:
                settings = json.loads((place / SETTINGS).read_text())
                tensors = load_file(place / TENSORS)
            except (OSError, ValueError, SafetensorError) as error:
                print(f"{place}: skipped, because it is damaged: {error}", file=sys.stderr)
                continue
            if settings["job"] == self.job:
                return State(step, tensors, settings["records"])
            print(f"{place}: skipped, because it is of another configuration, data or code", file=sys.stderr)
        return None

    def due(self) -> bool:
        """Return whether it is time for this process to save the next state."""
        return self.is_main and time.monotonic() - self.last >= self.every

    def save(self, state: State) -> None:
        """Write a state atomically, and remove all but the last two."""
        with atomic_write(self.folder / f"step-{state.step}") as part:
            part.mkdir()
            save_file({name: value.contiguous() for name, value in state.tensors.items()}, part / TENSORS)
            (part / SETTINGS).write_text(json.dumps({"job": self.job, "records": state.records}) + "\n")
        for step in self._steps()[KEPT:]:
            shutil.rmtree(self.folder / f"step-{step}")
        self.last = time.monotonic()

    def remove(self) -> None:
        """Remove all states, once the job is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> list[int]:
        """Return the steps of the complete states, the last one first."""
        return sorted((int(place.name.removeprefix("step-")) for place in self.folder.glob("step-*")), reverse=True)


def fingerprint(settings: dict[str, Any], *parts: Iterable[Any]) -> str:
    """Return a digest that identifies a job, of its settings and of the data that it reads, in their order."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for part in parts:
        for piece in part:
            digest.update(repr(piece).encode())
    return digest.hexdigest()


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
    """Put moments of `moments` back into the optimizer."""
    for name, parameter in trained.items():
        optimizer.state[parameter] = {
            "step": tensors[f"step/{name}"],
            "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device),
            "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device),
        }


def values(trained: Mapping[str, Parameter]) -> dict[str, Tensor]:
    """Return the values of the trained parameters as named tensors, for safetensors."""
    return {f"value/{name}": parameter.detach().cpu() for name, parameter in trained.items()}


def set_values(tensors: Mapping[str, Tensor], trained: Mapping[str, Parameter]) -> None:
    """Put values of `values` back into the parameters."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[f"value/{name}"])


def _claim(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock(folder / LOCK)
    except BlockingIOError:
        raise UserError(
            f"{folder}: another process is still at this training, started by a Snakemake that was killed; wait for "
            "its end, or end it, and run the same command again"
        ) from None
    except OSError as error:
        if is_full(error):
            raise full_disk(folder) from None
        print(
            f"{folder}: cannot be locked, so a second process on this training would go unnoticed: {error}",
            file=sys.stderr,
        )
