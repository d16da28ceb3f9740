import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from moesift.report import figures

POOL = pl.DataFrame(
    {"id": [f"{n:02}" for n in range(40)], "corruption": ["clean"] * 20 + ["truncated"] * 10 + ["wrong_choice"] * 10}
)
METHODS = ["router", "random", "length"]
SCORES = pl.concat(
    POOL.select("id", method=pl.lit(method), score=pl.int_range(pl.len()).cast(pl.Float64) * scale)
    for method, scale in (("router", -0.1), ("random", 0.1), ("length", 1.0))
)
AREAS = pl.DataFrame(
    {
        "method": ["router", "router", "random", "random", "length", "length"],
        "kind": ["truncated", "all kinds"] * 3,
        "auroc": [0.875, 0.125, 0.5, None, 0.625, 0.75],
        "half": [0.031, None, 0.25, None, 0.125, 0.0],
    }
)
CURVES = pl.DataFrame(
    {
        "seed": [0, 0, 0, 1, 1, 1],
        "epoch": [1, 1, 2, 1, 1, 2],
        "step": [0, 1, 2, 0, 1, 2],
        "nats": [5.0, 4.0, 3.5, 5.1, 4.2, 3.4],
        "trash_shares": [[0.1 * n, 0.2, 0.3] for n in range(6)],
        "multipliers": [[0.1 * n, -0.2, 0.0] for n in range(6)],
    }
)
SUMMARY = pl.DataFrame(
    [
        ("base", None, "heldout", 5.0, 0.1, 1),
        ("router", 0.1, "heldout", 4.0, 0.1, 2),
        ("random", 0.1, "heldout", 4.5, 0.1, 2),
        ("router", 0.3, "heldout", 3.5, 0.1, 2),
        ("random", 0.3, "heldout", 3.7, 0.1, 2),
        ("router", 0.1, "mmlu", 0.25, 0.01, 2),
    ],
    schema=["method", "ratio", "outcome", "value", "stderr", "seeds"],
    orient="row",
)
DIFFERENCES = pl.DataFrame(
    [("router", 0.1, "heldout", -0.5, -0.7, -0.3, 2), ("router", 0.3, "heldout", -0.2, None, None, 1)],
    schema=["method", "ratio", "outcome", "difference", "low", "high", "seeds"],
    orient="row",
)

DRAW = {
    "distributions": lambda: figures.distributions(SCORES, POOL, METHODS),
    "auroc": lambda: figures.auroc_map(AREAS, METHODS),
    "warmup": lambda: figures.warmup_curves(CURVES, 0.3),
    "heldout": lambda: figures.heldout_by_ratio(SUMMARY, DIFFERENCES, ["router", "random"]),
}


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_repeats_to_the_byte_and_can_stand_in_a_page(name):
    svg = DRAW[name]()
    assert svg == DRAW[name]()
    assert svg.startswith("<svg")
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert all(found.startswith(f"{name}-") for found in re.findall(r'\bid="([^"]*)"', svg))
    used = re.findall(r'(?:href="|url\()#([^")]*)', svg)
    assert set(used) <= set(re.findall(r'\bid="([^"]*)"', svg))  # nothing from elsewhere, nothing dangling
    assert "currentColor" in svg
    assert figures.INK not in svg
    assert "<metadata" not in svg


def test_the_areas_are_printed_in_their_cells():
    printed = texts(DRAW["auroc"]())
    for cell in ("0.875 ± 0.031", "0.125", "0.500 ± 0.250", "–", "0.625 ± 0.125", "router", "all kinds"):
        assert cell in printed


def test_axes_are_named_with_their_units():
    assert "loss (nats per token; mean of 10 steps)" in texts(DRAW["warmup"]())
    assert "trash share of tokens (target 0.3)" in texts(DRAW["warmup"]())
    assert "held-out loss (nats per token, ± standard error)" in texts(DRAW["heldout"]())
    assert "difference to random (nats per token, below 0 is better)" in texts(DRAW["heldout"]())
    assert {"truncated", "wrong_choice", *METHODS} <= set(texts(DRAW["distributions"]()))


def test_without_a_budget_the_contrast_is_drawn_instead():
    drawn = texts(figures.warmup_curves(CURVES.rename({"nats": "contrast"}), None))
    assert {"trash share of tokens", "contrast of twins (nats; mean of 10 steps)"} <= set(drawn)
    assert not any("target" in text or "multiplier" in text for text in drawn)


def test_without_random_selection_there_is_no_difference_to_it():
    svg = figures.heldout_by_ratio(SUMMARY, DIFFERENCES.clear(), ["router"])
    assert not [text for text in texts(svg) if text.startswith("difference")]


def test_a_deep_model_names_some_of_its_layers():
    deep = CURVES.with_columns(trash_shares=pl.Series([[0.1] * 32] * 6), multipliers=pl.Series([[0.0] * 32] * 6))
    named = [text for text in texts(figures.warmup_curves(deep, 0.3)) if text.startswith("layer")]
    assert named == [f"layer {layer}" for layer in range(0, 32, 4)]


def test_a_method_keeps_its_colour_and_random_is_grey():
    chosen = figures.colours(["router", "random", "length"])
    assert chosen == {"router": "#D55E00", "random": "#808080", "length": "#E69F00"}
    many = figures.colours([f"method{n}" for n in range(8)])
    assert len(set(many.values())) == 8


def test_scores_that_are_all_equal_or_missing_are_drawn():
    constant = SCORES.with_columns(score=pl.when(pl.col("method") == "router").then(0.5))
    assert "router" in texts(figures.distributions(constant, POOL, METHODS))
