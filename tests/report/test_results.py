import json

import polars as pl
import pytest
from given.comparison import (
    CONFIG,
    KEEP_SHARES,
    REJECTED,
    SIZE,
    TASKS,
    dropped,
    evaluations,
    pool,
    questions,
    scores,
    selections,
)

from moesift.errors import UserError
from moesift.report.results import REASONS, compare, results


def numbers(seeds=(0,), corrupted=True, rejected=REJECTED):
    given, examples = evaluations(seeds), pool(corrupted)
    comparison = compare(CONFIG["methods"], given, questions(seeds), examples, scores(seeds), selections(seeds))
    config = {**CONFIG, "seeds": list(seeds)}
    return results(comparison, config, given, examples, rejected, scores(seeds), dropped(seeds), KEEP_SHARES)


@pytest.fixture(scope="module")
def small():
    return numbers()


def test_the_rows_are_what_was_measured(small):
    assert json.loads(json.dumps(small, allow_nan=False)) == small
    untuned = {"heldout": {"value": 5.0, "stderr": 0.02}, "mmlu": {"value": 0.25, "stderr": 0.01}}
    assert small["rows"] == [
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
    assert small["tasks"] == [{**TASKS[0], "metric": "acc", **SIZE}]


def test_pool_rejections_and_missing_scores_are_counted(small):
    assert small["pool"] == {
        "examples": 20,
        "corrupted": 0.3,
        "kinds": {"clean": 14, "truncated": 6},
        "sources": [
            {"source": "$b$ <&", "examples": 8, "kinds": {"clean": 2, "truncated": 6}},
            {"source": "a", "examples": 12, "kinds": {"clean": 12}},
        ],
    }
    assert small["rejected"] == [
        {"source": "a", "rows": 1, "reasons": [{"reason": "no text", "count": 1}]},
        {"source": "b", "rows": 2, "reasons": [{"reason": "duplicate of …", "count": 2}]},
    ]
    assert small["unscored"] == [{"reason": "too long", "count": 1, "methods": ["router"]}]


def test_what_is_left_out_is_counted_by_kind_and_as_the_mean_over_seeds(small):
    reason = "shares a run of words with question … of mmlu_law"
    assert small["dropped"] == [{"ratio": 0.5, "reason": reason, "counts": {"router": 2.0}}]
    assert numbers(seeds=(0, 1))["dropped"] == small["dropped"]


def test_what_made_the_numbers_is_named(small):
    assert small["versions"] == {"torch": ["2", "3"]}
    assert (small["commit"], small["machine"]) == (["abc1234"], ["a machine"])


def test_an_evaluation_of_an_earlier_version_may_not_say_where_it_was_made():
    given = evaluations()
    del given[0]["made_from"]["machine"]
    comparison = compare(CONFIG["methods"], given, questions(), pool(), scores(), selections())
    found = results(comparison, CONFIG, given, pool(), REJECTED, scores(), dropped(), KEEP_SHARES)
    assert found["machine"] == [None, "a machine"]


def test_of_many_reasons_the_most_frequent_are_named_and_the_rows_still_counted():
    reasons = ["seen twice"] * 2 + [f"reason {chr(97 + n)}" for n in range(25)]
    (found,) = numbers(rejected=pl.DataFrame({"source": "a", "reason": reasons}))["rejected"]
    assert (found["rows"], len(found["reasons"])) == (27, REASONS)
    assert found["reasons"][0] == {"reason": "seen twice", "count": 2}


def test_several_seeds_are_averaged():
    found = numbers(seeds=(0, 1, 2))
    assert [row["seeds"] for row in found["over_seeds"]] == [1, 3, 3]
    assert found["over_seeds"][1]["outcomes"]["heldout"]["value"] == pytest.approx(4 + 1 / 9)
    (against,) = found["against_random"]
    assert against["outcomes"]["heldout"]["verdict"] == "better"
    assert against["outcomes"]["mmlu"]["verdict"] == "undecided"


def test_a_pool_without_labels_says_nothing_of_corruption():
    found = numbers(corrupted=False)
    assert not found["labelled"]
    assert found["auroc"] == found["auroc_over_seeds"] == []
    assert {row["kept_corrupted"] for row in found["rows"]} == {None}


def test_evaluations_of_different_tasks_are_refused():
    given = evaluations()
    given[1]["made_from"] = {"evaluation": {"tasks": []}}
    with pytest.raises(UserError, match="different tasks"):
        compare(CONFIG["methods"], given, questions(), pool(), scores(), selections())
