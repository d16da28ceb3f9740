from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from moesift import live


def curves_of(folder) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values of each curve that TensorBoard shows of a folder."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_each_number_is_a_curve_and_repeated_steps_appear_once(tmp_path):
    """A job was killed after step 3, and its last state is of step 1."""
    with live.view(tmp_path / "run") as show:
        for step in range(4):
            show(step, {"loss/nll": step + 0.5, "learning rate": 0.25})
    with live.view(tmp_path / "run") as show:
        for step in (2, 3, 4):
            show(step, {"loss/nll": step + 0.25, "learning rate": 0.5})
    assert curves_of(tmp_path / "run") == {
        "loss/nll": [(0, 0.5), (1, 1.5), (2, 2.25), (3, 3.25), (4, 4.25)],
        "learning rate": [(0, 0.25), (1, 0.25), (2, 0.5), (3, 0.5), (4, 0.5)],
    }
