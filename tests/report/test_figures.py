import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest
from moesift.report.figures.drawing import INK, colours

from moesift.report.figures import outcomes, routers, scores, selection

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
        ("base", None, "heldout", 5.0, 4.8, 5.2),
        ("router", 0.1, "heldout", 4.0, 3.8, 4.2),
        ("random", 0.1, "heldout", 4.5, 4.3, 4.7),
        ("router", 0.3, "heldout", 3.5, 3.3, 3.7),
        ("random", 0.3, "heldout", 3.7, 3.5, 3.9),
        ("router", 0.1, "mmlu", 0.25, None, None),
        ("router", 0.3, "mmlu", 0.25, None, None),
        ("random", 0.1, "mmlu", 0.24, None, None),
    ],
    schema=["method", "ratio", "outcome", "value", "low", "high"],
    orient="row",
)
DIFFERENCES = pl.DataFrame(
    [
        ("router", 0.1, "heldout", -0.5, -0.7, -0.3, -0.6, -0.4),
        ("router", 0.3, "heldout", -0.2, None, None, -0.3, -0.1),
        ("router", 0.3, "mmlu", 0.2, None, None, 0.1, 0.3),
    ],
    schema=["method", "ratio", "outcome", "difference", "low", "high", "low_questions", "high_questions"],
    orient="row",
)

SELECTIONS = pl.DataFrame(
    {
        "method": ["router"] * 12 + ["random"] * 4,
        "ratio": [0.1] * 4 + [0.2] * 8 + [0.1] * 4,
        "id": [f"{n:02}" for n in (*range(4), *range(8), *range(0, 16, 4))],
    }
)
KEPT = pl.DataFrame(
    {
        "by": ["source", "source", "length", "script"],
        "group": ["$a_b$", "a source with a very long name", "1–914", "Latin"],
        "pool": [30, 10, 40, 40],
    }
).join(
    pl.DataFrame({"method": ["router", "random"] * 2, "ratio": [0.1, 0.1, 0.3, 0.3], "kept": [0.425, 0.1, 0.004, 0.3]}),
    how="cross",
)
KEEP_SHARES = pl.DataFrame(
    {
        "method": ["router"] * 4 + ["router_untrained"] * 2,
        "seed": [0, 0, 1, 1, 0, 0],
        "layer": [0, 1] * 3,
        "low": [0.1] * 6,
        "median": [0.5, 0.6] * 3,
        "high": [0.9] * 6,
    }
)

DRAW = {
    "distributions": lambda: scores.distributions(SCORES, POOL, METHODS),
    "auroc": lambda: scores.auroc_map(AREAS, METHODS),
    "warmup": lambda: routers.warmup_curves(CURVES, 0.3),
    "ratios": lambda: outcomes.by_ratio(SUMMARY, ["heldout", "mmlu"], ["router", "random"]),
    "random": lambda: outcomes.against_random(DIFFERENCES, ["router", "random"]),
    "histograms": lambda: scores.histograms(SCORES, SELECTIONS, METHODS),
    "kept": lambda: selection.kept_map(KEPT, ["router", "random"]),
    "keep_shares": lambda: routers.keep_shares(KEEP_SHARES, 0.7, ["router", "router_untrained"]),
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
    assert INK not in svg
    assert "<metadata" not in svg


def test_the_areas_are_printed_in_their_cells():
    printed = texts(DRAW["auroc"]())
    for cell in ("0.875 ± 0.031", "0.125", "0.500 ± 0.250", "–", "0.625 ± 0.125", "router", "all kinds"):
        assert cell in printed


def test_axes_are_named_with_their_units():
    assert "loss (nats per token; mean of 10 steps)" in texts(DRAW["warmup"]())
    assert "trash share of tokens (target 0.3)" in texts(DRAW["warmup"]())
    assert {"held-out loss (nats per token)", "mmlu", "untuned target", "10%", "30%"} <= set(texts(DRAW["ratios"]()))
    assert "difference in nats per token (below 0 is better)" in texts(DRAW["random"]())
    assert {"router", "10% of the pool kept", "30% of the pool kept"} <= set(texts(DRAW["random"]()))
    assert {"truncated", "wrong_choice", *METHODS} <= set(texts(DRAW["distributions"]()))


def test_without_a_budget_the_contrast_is_drawn_instead():
    drawn = texts(routers.warmup_curves(CURVES.rename({"nats": "contrast"}), None))
    assert {"trash share of tokens", "contrast of negatives (nats; mean of 10 steps)"} <= set(drawn)
    assert not any("target" in text or "multiplier" in text for text in drawn)


def test_one_ratio_and_no_random_selection_are_drawn():
    alone = SUMMARY.filter((pl.col("ratio") == 0.1) & (pl.col("method") == "router"))
    drawn = texts(outcomes.by_ratio(alone, ["heldout", "mmlu"], ["router"]))
    assert {"router", "10%"} <= set(drawn)
    assert not {"random", "untuned target", "30%"} & set(drawn)


def test_each_group_has_its_share_of_the_pool_and_what_is_kept_of_it():
    printed = texts(DRAW["kept"]())
    for text in ("$a_b$ (75%)", "a source with a v… (25%)", "1–914 (100%)", "42%", "10%", "0.4%", "30%", "by source"):
        assert text in printed


@pytest.mark.parametrize(
    ("times", "colour", "ink"), [(1, "#f6f7f7", "black"), (4, "#053061", "white"), (0, "#67001f", "white")]
)
def test_a_cell_is_white_at_the_ratio_blue_above_and_red_below(times, colour, ink):
    assert selection._shade(times) == (colour, ink)


def test_both_router_methods_have_their_line_and_the_target_its_own():
    assert {"router", "router_untrained", "target of the mean"} <= set(texts(DRAW["keep_shares"]()))
    assert "target of the mean" not in texts(routers.keep_shares(KEEP_SHARES, None, ["router", "router_untrained"]))


def test_a_long_warm_up_takes_no_more_room_than_a_short_one():
    steps = 20_000
    long = pl.DataFrame({"seed": 0, "epoch": 1, "step": range(steps), "nats": [float(n % 7) for n in range(steps)]})
    long = long.with_columns(trash_shares=[0.1, 0.2], multipliers=[0.0, 0.1])
    assert len(routers.warmup_curves(long, 0.3)) < 150_000


def test_a_deep_model_names_some_of_its_layers():
    deep = CURVES.with_columns(trash_shares=pl.Series([[0.1] * 32] * 6), multipliers=pl.Series([[0.0] * 32] * 6))
    named = [text for text in texts(routers.warmup_curves(deep, 0.3)) if text.startswith("layer")]
    assert named == [f"layer {layer}" for layer in range(0, 32, 4)]


def test_a_method_keeps_its_colour_and_random_is_grey():
    chosen = colours(["router", "random", "length"])
    assert chosen == {"router": "#D55E00", "random": "#808080", "length": "#E69F00"}
    many = colours([f"method{n}" for n in range(8)])
    assert len(set(many.values())) == 8


def test_scores_that_are_all_equal_or_missing_are_drawn():
    constant = SCORES.with_columns(score=pl.when(pl.col("method") == "router").then(0.5))
    assert "router" in texts(scores.distributions(constant, POOL, METHODS))
