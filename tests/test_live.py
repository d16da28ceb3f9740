import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from moesift import live
from moesift.errors import UserError


def shown(folder) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows of a folder: the steps and values of each curve."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_each_number_is_a_curve(tmp_path):
    with live.view(tmp_path / "run") as show:
        show(0, {"loss/nats": 3.5, "learning rate": 0.25})
        show(1, {"loss/nats": 2.5, "learning rate": 0.5})
    assert shown(tmp_path / "run") == {
        "loss/nats": [(0, 3.5), (1, 2.5)],
        "learning rate": [(0, 0.25), (1, 0.5)],
    }


def test_steps_that_are_done_again_stand_there_once(tmp_path):
    """A job was killed after step 3, and its last state is of step 1."""
    with live.view(tmp_path) as show:
        for step in range(4):
            show(step, {"loss": step + 0.5})
    with live.view(tmp_path) as show:
        for step in (2, 3, 4):
            show(step, {"loss": step + 0.25})
    assert shown(tmp_path) == {"loss": [(0, 0.5), (1, 1.5), (2, 2.25), (3, 3.25), (4, 4.25)]}


def test_nothing_is_written_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with live.view(None) as show:
        show(0, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"throughput.live: .*pip install 'moesift\[live\]'"), live.view(tmp_path):
        pass
