import json
import re
import xml.etree.ElementTree as ET

import polars as pl
import pytest
from given.comparison import (
    CONFIG,
    HOSTILE,
    REJECTED,
    SIZE,
    TASKS,
    curves,
    dropped,
    evaluations,
    pool,
    questions,
    scores,
    selections,
)

from moesift.errors import UserError
from moesift.report.page import compare, headline, page, plots, results


def numbers_and_page(given=None, seeds=(0,), corrupted=True):
    config = {**CONFIG, "seeds": list(seeds)}
    given, examples = given or evaluations(seeds), pool(corrupted)
    methods = [run["method"] for run in given]
    asked = questions(seeds).filter(pl.col("method").is_in(methods))
    comparison = compare(given, asked, examples, scores(seeds), selections(seeds))
    numbers = results(comparison, config, given, examples, REJECTED, scores(seeds), dropped(seeds))
    return numbers, page(numbers, plots(comparison, config, examples, scores(seeds), curves()))


@pytest.fixture(scope="module")
def small():
    return numbers_and_page()


def test_the_rows_are_what_was_measured(small):
    numbers, _ = small
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    untuned = {"heldout": {"value": 5.0, "stderr": 0.02}, "mmlu": {"value": 0.25, "stderr": 0.01}}
    assert numbers["rows"] == [
        {"method": "base", "ratio": None, "seed": None, "outcomes": untuned, "kept_corrupted": None},
        {
            "method": "router",
            "ratio": 0.5,
            "seed": 0,
            "outcomes": {**untuned, "heldout": {"value": 4.0, "stderr": 0.02}},
            "kept_corrupted": 0.0,
        },
        {
            "method": "random",
            "ratio": 0.5,
            "seed": 0,
            "outcomes": {**untuned, "heldout": {"value": 4.2, "stderr": 0.02}},
            "kept_corrupted": 0.4,
        },
    ]
    assert numbers["tasks"] == [{**TASKS[0], "metric": "acc", **SIZE}]


def test_pool_rejections_versions_and_missing_scores_are_counted(small):
    numbers, _ = small
    assert numbers["pool"] == {
        "examples": 20,
        "corrupted": 0.3,
        "kinds": {"clean": 14, "truncated": 6},
        "sources": [
            {"source": "a", "examples": 12, "kinds": {"clean": 12}},
            {"source": "b", "examples": 8, "kinds": {"clean": 2, "truncated": 6}},
        ],
    }
    assert numbers["rejected"] == [{"reason": "duplicate of …", "count": 2}, {"reason": "no text", "count": 1}]
    assert numbers["unscored"] == [{"reason": "too long", "count": 1, "methods": ["router"]}]
    reason = "shares a run of words with question … of mmlu_law"
    assert numbers["dropped"] == [{"method": "router", "ratio": 0.5, "reason": reason, "count": 2}]
    assert numbers["versions"] == {"torch": ["2", "3"]}


def test_the_ends_of_the_ranking_begin_with_the_most_extreme(small):
    ranking = small[0]["ranking"]
    assert [example["id"] for example in ranking["best"]] == ["00", "01", "02", "03", "04"]
    assert [example["id"] for example in ranking["worst"]] == ["18", "17", "16", "15", "14"]  # 19 has no score
    answer = ranking["best"][0]["messages"][1]["content"]
    assert answer == "yes " * 75 + " […] " + "yes " * 75


def test_the_page_is_well_formed_and_shows_hostile_text_as_text(small):
    _, html = small
    root = ET.fromstring(html.split("<!doctype html>")[1])
    assert f"{HOSTILE} 0" in "".join(root.itertext())
    assert not list(root.iter("script"))
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_the_page_loads_nothing(small):
    _, html = small
    assert not re.search(r'\bsrc=|<link|<script|<iframe|@import|url\((?!#)|\bhref="(?!#)', html)


def test_the_page_repeats_to_the_byte(small):
    assert numbers_and_page() == small


def test_one_seed_is_said_to_have_no_interval(small):
    numbers, html = small
    assert numbers["headline"] == (
        "One seed, so no interval over seeds: keeping 50% of the pool, router has the lowest held-out loss "
        "(4.000 ± 0.020 nats per token) and router is 0.200 below random; the untuned target has 5.000."
    )
    assert "One seed: no interval over seeds" in html
    assert "Mean over seeds" not in html


def test_several_seeds_are_averaged():
    numbers, html = numbers_and_page(seeds=(0, 1, 2))
    assert [row["seeds"] for row in numbers["over_seeds"]] == [1, 3, 3]
    assert numbers["over_seeds"][1]["outcomes"]["heldout"]["value"] == pytest.approx(4 + 1 / 9)
    assert "Mean over seeds" in html
    assert "One seed" not in html


def test_a_pool_without_labels_says_nothing_of_corruption():
    numbers, html = numbers_and_page(corrupted=False)
    assert not numbers["labelled"]
    assert numbers["auroc"] == numbers["auroc_over_seeds"] == []
    assert {row["kept_corrupted"] for row in numbers["rows"]} == {None}
    assert "What each score sees" not in html


def test_a_grid_without_random_selection_claims_nothing_against_it():
    given = [run for run in evaluations() if run["method"] != "random"]
    numbers, html = numbers_and_page(given)
    assert numbers["headline"] == (
        "One seed, so no interval over seeds: keeping 50% of the pool, router has the lowest held-out loss "
        "(4.000 ± 0.020 nats per token); the untuned target has 5.000."
    )
    assert "no method here has been shown to be better" in html


def test_evaluations_of_different_tasks_are_refused():
    given = evaluations()
    given[1]["made_from"] = {"evaluation": {"tasks": []}}
    with pytest.raises(UserError, match="different tasks"):
        compare(given, questions(), pool(), scores(), selections())


def summary(*rows):
    return pl.DataFrame(
        [(method, ratio, "heldout", value, 0.02, seeds) for method, ratio, value, seeds in rows],
        schema=["method", "ratio", "outcome", "value", "stderr", "seeds"],
        orient="row",
    )


def difference(value, low, high, seeds):
    return pl.DataFrame(
        [("router", 0.1, "heldout", value, low, high, seeds)],
        schema=["method", "ratio", "outcome", "difference", "low", "high", "seeds"],
        orient="row",
    )


@pytest.mark.parametrize(
    ("against", "verdict"),
    [
        ((-0.2, -0.3, -0.1, 3), "router beats random by 0.200 (95% interval -0.300 to -0.100 over 3 paired seeds)"),
        (
            (0.2, 0.1, 0.3, 3),
            "router is worse than random by 0.200 (95% interval +0.100 to +0.300 over 3 paired seeds)",
        ),
        (
            (-0.2, -0.5, 0.1, 3),
            "router cannot be told from random (difference -0.200, 95% interval -0.500 to +0.100 over 3 paired seeds)",
        ),
        ((-0.2, None, None, 1), "router is 0.200 below random"),
        ((0.2, None, None, 1), "router is 0.200 above random"),
        ((0.0, None, None, 1), "router equals random"),
    ],
)
def test_the_router_beats_random_only_where_the_interval_says_so(against, verdict):
    seeds = against[-1]
    losses = summary(("router", 0.1, 4.0, seeds), ("random", 0.1, 4.2, seeds))
    start = "One seed, so no interval over seeds: keeping" if seeds == 1 else "Keeping"
    assert headline(losses, difference(*against)) == (
        f"{start} 10% of the pool, router has the lowest held-out loss (4.000 ± 0.020 nats per token) and {verdict}."
    )


def test_the_headline_goes_by_ratio_and_names_all_that_share_the_lowest_loss():
    losses = summary(("router", 0.3, 4.0, 2), ("length", 0.1, 3.0, 2), ("random", 0.3, 4.0, 2), ("base", None, 2.0, 1))
    assert headline(losses, difference(0.0, None, None, 2).clear()) == (
        "Keeping 10% of the pool, length has the lowest held-out loss (3.000 ± 0.020 nats per token); keeping 30% of "
        "the pool, router and random share the lowest held-out loss (4.000 ± 0.020 nats per token); the untuned target "
        "has 2.000."
    )
