"""What can go wrong: a case that cannot be drawn, a number that is not shown, ids that clash in the page."""

import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest

from moesift.report import figures
from moesift.report.detection import AUROC

DIFFERENCES = pl.DataFrame(
    [
        ("router", "ratio-0.1", -0.5, -0.7, -0.3, -0.6, -0.4, "better"),
        ("router", "tokens-900", -0.2, None, None, -0.3, -0.1, None),
        ("base", "ratio-0.1", 2.5, None, None, None, None, None),
        ("full", "ratio-0.1", -0.4, -0.5, -0.3, None, None, None),
    ],
    schema=["method", "budget", "difference", "low", "high", "low_questions", "high_questions", "verdict"],
    orient="row",
)
BY_TARGET = pl.concat(
    DIFFERENCES.filter(budget="ratio-0.1").with_columns(
        outcome=pl.lit(outcome), difference=pl.col("difference") * scale
    )
    for outcome, scale in (("heldout:a", 1), ("heldout:$b$", 2))
)
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
OVERLAP = pl.DataFrame(
    [("rds", "rds", 1.0), ("rds", "a$", 0.125), ("a$", "rds", 0.5), ("a$", "a$", 1.0)],
    ["method", "other", "shared"],
    orient="row",
)
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
    "random": lambda: figures.against_random("random", DIFFERENCES, ["full", "base"]),
    "targets": lambda: figures.against_random("targets", BY_TARGET, ["full", "base"], by="outcome"),
    "auroc": lambda: figures.auroc_map(AREAS),
    "kept": lambda: figures.kept_map(KEPT, ["router"]),
    "overlap": lambda: figures.overlap_map(OVERLAP),
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
        ("targets", {"a", "$b$", "-0.500", "-1.000", "+5.000", "base"}),
        ("auroc", {"0.88", "0.75", "–", "swapped across", "router"}),
        ("kept", {"$a_b$", "a source with a very long n…", "42%", "10%", "source"}),
        ("overlap", {"rds", "a$", "100%", "12%", "50%"}),
        ("warmup", {"nll of the warm-up", "trash share by layer (dark: first)"}),
    ],
)
def test_numbers_and_names_are_printed(name, shown):
    assert shown <= texts(DRAWN[name]())


def test_a_group_that_is_tiny_or_alone_is_not_drawn():
    assert not {"tiny", "1–914"} & texts(DRAWN["kept"]())
    assert figures.kept_map(KEPT[3:], ["router"]) is None
    assert figures.overlap_map(OVERLAP[:1]) is None


def test_many_budgets_are_drawn():
    many = [DIFFERENCES.filter(budget="ratio-0.1").with_columns(budget=pl.lit(f"ratio-0.{n}")) for n in range(1, 6)]
    assert {f"{n}0% kept" for n in range(1, 6)} <= texts(
        figures.against_random("random", pl.concat(many), ["full", "base"])
    )


def test_a_long_warm_up_takes_no_more_room_than_a_short_one():
    steps = 20_000
    long = pl.DataFrame({"seed": 0, "epoch": 1, "step": range(steps), "contrast": [float(n % 7) for n in range(steps)]})
    svg = figures.warmup(long.with_columns(trash_shares=[0.1, 0.2]), None)
    assert len(svg) < 150_000
    assert "contrast of the warm-up" in texts(svg)
