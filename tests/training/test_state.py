import json

import pytest
import torch

from moesift.training import state
from moesift.training.state import State

JOB = state.fingerprint({"learning_rate": 0.1}, ["a", "b"])


def kept(folder):
    return sorted(place.name for place in folder.iterdir())


def saved(folder, *steps, job=JOB):
    for step in steps:
        state.save(folder, job, State(step, {"x": torch.full((2,), float(step))}, [{"step": step}]))


def test_the_last_state_comes_back_and_two_are_kept(tmp_path):
    folder = tmp_path / "deep" / "job"
    assert state.newest(folder, JOB) is None
    saved(folder, 1, 2, 10, 9)
    assert kept(folder) == ["step-10", "step-9"]
    found = state.newest(folder, JOB)
    assert (found.step, found.tensors["x"].tolist(), found.told) == (10, [10.0, 10.0], [{"step": 10}])
    state.remove(folder)
    state.remove(folder)  # nothing there is no error
    assert not folder.exists()


def test_a_job_is_its_settings_and_what_it_reads_in_order():
    assert state.fingerprint({"learning_rate": 0.1}, iter("ab")) == JOB
    others = [({"learning_rate": 0.2}, "ab"), ({"learning_rate": 0.1}, "ba"), ({"learning_rate": 0.1}, "a")]
    assert len({JOB, *(state.fingerprint(settings, parts) for settings, parts in others)}) == 4


def test_a_state_of_another_job_is_passed_over_and_said(tmp_path, capsys):
    saved(tmp_path, 3)
    assert state.newest(tmp_path, "another") is None
    assert "step-3: a state of another configuration, data or code is passed over" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("left", [0, 7, None])
def test_a_damaged_state_is_passed_over_for_the_one_before(tmp_path, capsys, file, left):
    saved(tmp_path, 3, 4)
    whole = (tmp_path / "step-4" / file).read_bytes()
    if left is None:
        (tmp_path / "step-4" / file).unlink()
    else:
        (tmp_path / "step-4" / file).write_bytes(whole[:left])
    assert state.newest(tmp_path, JOB).step == 3
    assert "step-4: a damaged state is passed over" in capsys.readouterr().err


def test_what_was_not_renamed_is_not_there_and_in_nobodys_way(tmp_path):
    saved(tmp_path, 3)
    part = tmp_path / ".step-4.part"
    part.mkdir()
    (part / "tensors.safetensors").write_bytes(b"half")
    assert state.newest(tmp_path, JOB).step == 3
    saved(tmp_path, 4)
    assert kept(tmp_path) == ["step-3", "step-4"]
    assert json.loads((tmp_path / "step-4" / "state.json").read_text())["told"] == [{"step": 4}]


def test_an_optimizer_goes_on_bitwise(tmp_path):
    def training(values=(1.0, -2.0)):
        trained = {"w": torch.nn.Parameter(torch.tensor(values))}
        return trained, torch.optim.AdamW(trained.values(), lr=0.1)

    def steps(trained, optimizer, count):
        for _ in range(count):
            (trained["w"] ** 2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    trained, optimizer = training()
    steps(trained, optimizer, 3)
    state.save(tmp_path, JOB, State(3, state.values(trained) | state.moments(optimizer, trained), None))
    steps(trained, optimizer, 4)
    again, fresh = training((0.0, 0.0))
    tensors = state.newest(tmp_path, JOB).tensors
    state.set_values(tensors, again)
    state.set_moments(tensors, fresh, again)
    steps(again, fresh, 4)
    assert torch.equal(again["w"], trained["w"])
