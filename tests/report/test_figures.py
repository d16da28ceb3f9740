"""What can go wrong: a case that cannot be drawn, a number that is not shown, ids that clash in the page."""

import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from moesift.report import figures
from moesift.report.detection import AUROC

METHODS = ["router", "random", "full"]
SUMMARY = pl.DataFrame(
    [
        ("base", None, "heldout", None, 5.0, None, None, 1),
        ("router", "ratio-0.1", "heldout", 0.1, 4.0, 3.8, 4.2, 3),
        ("random", "ratio-0.1", "heldout", 0.1, 4.5, 4.3, 4.7, 3),
        ("router", "tokens-900", "heldout", 0.3, 3.5, 3.3, 3.7, 3),
        ("random", "tokens-900", "heldout", 0.25, 3.7, 3.5, 3.9, 3),
        ("full", "ratio-1", "heldout", 1.0, 4.1, None, None, 3),
        ("router", "ratio-0.1", "mmlu", 0.1, 0.25, None, None, 3),
        ("random", "ratio-0.1", "mmlu", 0.1, None, None, None, 0),
    ],
    schema=["method", "budget", "outcome", "ratio", "value", "low", "high", "seeds"],
    orient="row",
)
DIFFERENCES = pl.DataFrame(
    [
        ("router", "ratio-0.1", -0.5, -0.7, -0.3, -0.6, -0.4, "better"),
        ("router", "tokens-900", -0.2, None, None, -0.3, -0.1, None),
        ("nll", "ratio-0.1", None, None, None, None, None, None),
        ("base", "ratio-0.1", 2.5, None, None, None, None, None),
        ("full", "ratio-0.1", -0.4, -0.5, -0.3, None, None, None),
    ],
    schema=["method", "budget", "difference", "low", "high", "low_questions", "high_questions", "verdict"],
    orient="row",
).with_columns(outcome=pl.lit("heldout"))
AREAS = pl.DataFrame(
    [
        (m, 0, kind, within, value, None, None, None, 9, 9)
        for m, kind, within, value in [
            *(("router", "swapped_across", "pool", 0.875), ("router", "swapped_across", "source and length", 0.8)),
            *(("router", "all", "pool", 0.75), ("router", "all", "source and length", None)),
        ]
    ],
    schema=AUROC,
    orient="row",
)
KEPT = pl.DataFrame(
    {
        "by": ["source", "source", "source", "length"],
        "group": ["$a_b$", "a source with a very long name", "tiny", "1–914"],
        "examples": [700, 300, 1, 1001],
        "kept": [0.425, 0.1, 1.0, 0.3],
        "method": ["router"] * 4,
    }
)
SCORES = pl.DataFrame({"method": ["router"] * 40, "id": range(40), "score": range(40), "corrupted": [False, True] * 20})
CURVES = pl.DataFrame(
    {
        "seed": [0, 0, 1, 1],
        "epoch": [1] * 4,
        "step": [0, 1, 0, 1],
        "nll": [5.0, 4.0, 5.1, 4.2],
        "trash_shares": [[0.1 * n, 0.2, 0.3] for n in range(4)],
    }
)
DRAWN = {
    "random": lambda: figures.against_random(DIFFERENCES, ["full", "base"]),
    "budgets": lambda: figures.by_budget(SUMMARY, METHODS, ["full", "base"]),
    "auroc": lambda: figures.auroc_map(AREAS),
    "kept": lambda: figures.kept_map(KEPT, ["router"]),
    "histograms": lambda: figures.histograms(SCORES, SCORES.head(4), ["router"]),
    "warmup": lambda: figures.warmup(CURVES, 0.3),
}


def texts(svg):
    return {"".join(node.itertext()) for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("name", DRAWN)
def test_figures_can_be_in_one_page_and_take_its_text_colour(name):
    svg = DRAWN[name]()
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert all(found.startswith(f"{name}-") for found in re.findall(r'\bid="([^"]*)"', svg))
    used = re.findall(r'(?:href="|url\()#([^")]*)', svg)
    assert set(used) <= set(re.findall(r'\bid="([^"]*)"', svg))  # nothing from elsewhere, nothing dangling
    assert "currentColor" in svg
    assert figures.INK not in svg


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("random", {"10% kept", "900 tokens kept", "-0.500", "-0.200", "+2.500", "-0.400", "base", "full"}),
        ("budgets", {"held-out loss · base 5.000 · full 4.100", "mmlu", "10%", "router", "random"}),
        ("auroc", {"0.88", "0.75", "–", "swapped across", "router"}),
        ("kept", {"$a_b$", "a source with a v…", "42%", "10%", "source"}),
        ("warmup", {"nll of the warm-up", "trash share by layer (dark: first)"}),
    ],
)
def test_numbers_and_names_are_printed(name, shown):
    assert shown <= texts(DRAWN[name]())


def test_a_group_that_is_tiny_or_alone_is_not_drawn():
    assert not {"tiny", "1–914"} & texts(DRAWN["kept"]())
    assert figures.kept_map(KEPT[3:], ["router"]) is None


def test_one_budget_one_outcome_and_no_random_selection_are_drawn():
    alone = SUMMARY.filter(budget="ratio-0.1", method="router", outcome="heldout")
    drawn = texts(figures.by_budget(alone, ["router"], ["base"]))
    assert {"router", "10%", "held-out loss"} <= drawn
    assert "random" not in drawn


def test_many_budgets_are_drawn():
    many = [DIFFERENCES.filter(budget="ratio-0.1").with_columns(budget=pl.lit(f"ratio-0.{n}")) for n in range(1, 6)]
    assert {f"{n}0% kept" for n in range(1, 6)} <= texts(figures.against_random(pl.concat(many), ["full", "base"]))


def test_scores_that_are_all_equal_or_missing_are_drawn():
    equal = SCORES.with_columns(score=pl.lit(0.5))
    assert "router" in texts(figures.histograms(equal, SCORES.head(4), ["router"]))
    none = SCORES.with_columns(score=pl.lit(None, pl.Float64))
    assert texts(figures.histograms(none, SCORES.head(4), ["router"])) == set()


def test_a_long_warm_up_takes_no_more_room_than_a_short_one():
    steps = 20_000
    long = pl.DataFrame({"seed": 0, "epoch": 1, "step": range(steps), "contrast": [float(n % 7) for n in range(steps)]})
    svg = figures.warmup(long.with_columns(trash_shares=[0.1, 0.2]), None)
    assert len(svg) < 150_000
    assert "contrast of the warm-up" in texts(svg)
