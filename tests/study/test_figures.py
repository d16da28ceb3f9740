import copy
import io

import pytest
from given.study import NOTHING, dose, interval, part
from PIL import Image

from moesift.study import figures as study_figures
from moesift.study.figures import drawable, drawn, png, ranked, readable_on, short, spread


@pytest.fixture
def numbers():
    """A part with two shares of noise."""
    found = part([1, 2])
    found["doses"] += [dose(0.5, 0.65, 0.625)]
    return found


def texts(figure):
    axes = figure.get_axes()
    found = [text.get_text() for one in axes for text in one.texts]
    found += [label.get_text() for one in axes for label in (*one.get_xticklabels(), *one.get_yticklabels())]
    return found + [one.get_title(loc="left") for one in axes]


def test_every_figure_is_a_small_png_that_repeats_to_the_byte(numbers):
    first, second = (
        {name: png(figure) for name, figure in drawn(numbers, ["perturbed_instruction"]).items()} for _ in range(2)
    )
    assert list(first) == ["auroc", "doses", "training", "layers"]
    assert first == second
    for written in first.values():
        assert Image.open(io.BytesIO(written)).width == 1575
        assert len(written) < 300_000


def test_cells_hold_the_area_and_its_interval_and_what_is_apart_is_named(numbers):
    numbers["detection"][0]["auroc"] = NOTHING
    numbers["detection"][1]["auroc"] = interval(1.0)
    found = texts(study_figures.auroc(numbers, ["perturbed_instruction"]))
    for text in (".70", ".68 – .72", "–", "1.00", "supervised probes", "mean over kinds", "probe_\nkind"):
        assert text in found


def test_axes_are_named_with_their_units(numbers):
    figure = study_figures.training(numbers)
    found = texts(figure)
    assert "nats per response token, paired by seed" in figure.get_supxlabel()
    assert "20% kept" in found
    assert "50%" in found  # of the oracle gap
    assert "mean AUROC over kinds (band: 95% interval over seeds)" in texts(study_figures.doses(numbers))


def test_arms_stand_by_their_distance_to_random_and_a_full_mark_is_told_from_it(numbers):
    arm = {"ratio": 0.2, "gap": None}
    numbers["training"] = [
        {"arm": "worse", "against_random": {"value": 0.1, "low": 0.02, "high": 0.18}} | arm,
        {"arm": "better", "against_random": {"value": -0.1, "low": -0.3, "high": 0.1}} | arm,
        {"arm": "random", "against_random": None} | arm,
    ]
    axes = study_figures.training(numbers).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["better", "worse"]
    marks = {line.get_ydata()[0]: line.get_markerfacecolor() for line in axes.get_lines() if line.get_marker() == "o"}
    assert (marks[0], marks[1] == "white") == ("white", False)


def test_what_has_no_numbers_is_not_drawn(numbers):
    numbers["doses"] = numbers["doses"][:1]
    numbers["training"] = [row for row in numbers["training"] if row["arm"] in ("base", "full")]
    numbers["layers"] = []
    assert drawable(numbers) == list(drawn(numbers)) == ["auroc"]
    numbers["detection"] = []
    assert drawn(numbers) == {}


def test_numbers_that_are_null_leave_gaps(numbers):
    holes = copy.deepcopy(numbers)
    holes["doses"][0] |= {"auroc": NOTHING, "kept_clean": None}
    holes["layers"][1]["auroc"] = NOTHING
    for row in holes["training"]:
        row |= {"gap": None, "nats": interval(3.5)}
    for row in holes["detection"]:
        row["auroc"] = NOTHING
    assert all(map(png, drawn(holes).values()))


def test_methods_stand_by_their_mean_and_those_without_one_last(numbers):
    assert ranked(numbers) == ["router", "nll", "random", "length"]
    for row in numbers["detection"]:
        if row["method"] == "router":
            row["auroc"] = NOTHING
    assert ranked(numbers) == ["nll", "random", "length", "router"]


def test_labels_move_apart_and_stay_inside():
    assert spread([0.2, 0.8], 0.1) == [0.2, 0.8]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert spread([0.0, 0.0, 0.05], 0.1) == pytest.approx([0.0, 0.1, 0.2])
    assert spread([1.0, 1.0], 0.1) == pytest.approx([0.9, 1.0])


def test_text_stands_out_from_its_cell():
    assert readable_on("#08306b") == "white"
    assert readable_on("#f7f7f7") == "black"
    assert [short(area) for area in (0.728, 1.0, 1.04, -0.02)] == [".73", "1.00", "1.04", "-.02"]
