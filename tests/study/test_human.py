import numpy as np
import pytest

from moesift.errors import UserError
from moesift.study.human import agreement, alpaca


def row(number, **changed):
    texts = {"Instruction": f"ask {number}", "Input": "", "Response": f"say {number}"}
    sides = {f"{side} {field}": text for side in ("Raw", "Revised") for field, text in texts.items()}
    return sides | {"Revised Response": f"say {number} better", "Distance": 7} | changed


def test_pairs_in_which_the_response_alone_differs_are_drawn():
    rows = [
        row(0),
        row(1, **{"Revised Instruction": "ask another thing"}),
        row(2, **{"Revised Response": "say 2 "}),
        row(3, **{"Raw Response": " "}),
        row(4, **{"Raw Input": "4", "Revised Input": "4"}),
    ]
    pairs = alpaca(rows, 2, seed=0, path="pairs.json")
    assert sorted(pairs, key=str) == [
        {
            "Raw": {"instruction": "ask 0", "input": "", "output": "say 0"},
            "Revised": {"instruction": "ask 0", "input": "", "output": "say 0 better"},
        },
        {
            "Raw": {"instruction": "ask 4", "input": "4", "output": "say 4"},
            "Revised": {"instruction": "ask 4", "input": "4", "output": "say 4 better"},
        },
    ]
    many = [row(number) for number in range(50)]
    assert alpaca(many, 5, 1, "a") == alpaca(many, 5, 1, "a") != alpaca(many, 5, 2, "a")


def test_what_cannot_be_used_is_named():
    with pytest.raises(UserError, match=r"^pairs\.json: has 1 pairs .* asks for 2$"):
        alpaca([row(0)], 2, 0, "pairs.json")
    with pytest.raises(UserError, match=r"^pairs\.json: row 1 has no text under Raw Input$"):
        alpaca([row(0), row(1, **{"Raw Input": None})], 1, 0, "pairs.json")
    with pytest.raises(UserError, match=r"^pairs\.json: row 0 has no text under Raw Instruction, "):
        alpaca(["a"], 1, 0, "pairs.json")


def test_the_agreement_counts_ties_half_and_leaves_out_what_has_no_score():
    raw = np.array([0.0, 0.0, 0.0, 1.0, np.nan, 0.0])
    revised = np.array([1.0, 1.0, 0.0, 0.0, 1.0, np.nan])
    found = agreement(raw, revised, 2000)
    assert found.value == 2.5 / 4
    assert 0 < found.low < found.value < found.high <= 1
    assert agreement(raw[4:], revised[4:], 10) is None


def test_its_interval_is_that_of_a_proportion():
    won = np.arange(400) % 4 > 0  # three quarters
    found = agreement(np.zeros(400), np.where(won, 1.0, -1.0), 4000)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (found.low, found.value, found.high) == pytest.approx((0.75 - half, 0.75, 0.75 + half), abs=0.005)
