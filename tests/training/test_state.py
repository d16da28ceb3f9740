import json
import subprocess
import sys

import pytest
import torch

from moesift.errors import UserError
from moesift.training import state
from moesift.training.state import State, States

JOB = state.fingerprint({"learning_rate": 0.1}, ["a", "b"])


def names(folder):
    return sorted(place.name for place in folder.iterdir() if place.name != "lock")


@pytest.fixture
def states(tmp_path):
    return States(tmp_path / "deep" / "job", JOB)


def save(states, *steps):
    for step in steps:
        states.save(State(step, {"x": torch.full((2,), float(step))}, [{"step": step}]))


def reader(states, job=JOB) -> States:
    """The states of a folder for a process that is not the main one, which does not claim it."""
    return States(states.folder, job, is_main=False)


def test_the_last_state_is_resumed_and_two_are_kept(states):
    assert states.newest() is None
    save(states, 1, 2, 10, 9)
    assert names(states.folder) == ["step-10", "step-9"]
    newest = reader(states).newest()
    assert (newest.step, newest.tensors["x"].tolist(), newest.records) == (10, [10.0, 10.0], [{"step": 10}])
    states.remove()
    states.remove()  # no error without states
    assert not states.folder.exists()


def test_the_fingerprint_is_of_settings_and_data_in_order():
    assert state.fingerprint({"learning_rate": 0.1}, iter("ab")) == JOB
    others = [({"learning_rate": 0.2}, "ab"), ({"learning_rate": 0.1}, "ba"), ({"learning_rate": 0.1}, "a")]
    assert len({JOB, *(state.fingerprint(settings, parts) for settings, parts in others)}) == 4


def test_a_state_of_another_job_is_skipped_and_reported(states, capsys):
    save(states, 3)
    assert reader(states, "another").newest() is None
    assert "step-3: skipped, because it is of another configuration, data or code" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("left", [0, 7, None])
def test_a_damaged_state_is_skipped_for_the_one_before(states, capsys, file, left):
    save(states, 3, 4)
    damaged = states.folder / "step-4" / file
    content = damaged.read_bytes()
    damaged.unlink()
    if left is not None:
        damaged.write_bytes(content[:left])
    assert states.newest().step == 3
    assert "step-4: skipped, because it is damaged" in capsys.readouterr().err


def test_an_unfinished_write_is_no_state(states):
    save(states, 3)
    part = states.folder / ".step-4.part"
    part.mkdir()
    (part / "tensors.safetensors").write_bytes(b"half")
    assert states.newest().step == 3
    save(states, 4)
    assert names(states.folder)[-2:] == ["step-3", "step-4"]
    assert json.loads((states.folder / "step-4" / "state.json").read_text())["records"] == [{"step": 4}]


def test_only_the_main_process_saves_and_only_when_it_is_time(tmp_path):
    assert States(tmp_path / "a", JOB, every=0).due()
    assert not States(tmp_path / "b", JOB, every=1000).due()
    assert not States(tmp_path / "c", JOB, is_main=False, every=0).due()


def test_a_second_process_on_the_same_training_is_refused(tmp_path):
    holding = "import sys, pathlib; from moesift.training.state import States\n"
    holding += "States(pathlib.Path(sys.argv[1]), 'job'); print('holds', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holding, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "holds\n"
        with pytest.raises(UserError, match="another process is still at this training"):
            States(tmp_path, JOB)
        other.stdin.close()
    States(tmp_path, JOB)  # free again
