from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from moesift.study import numbers as study
from moesift.study.numbers import Case

KINDS = ["cut", "swap", "asked"]  # the last is the control


def case(seed=1, half=0, noise=0.3, clean=40, trained=None):
    """A pool in which `nll` sees cuts and nothing else, and only half of the clean examples could have been cut."""
    rng = np.random.default_rng([seed, half])
    kinds = ["clean"] * clean + ["cut"] * 10 + ["swap"] * 10 + ["asked"] * 5
    nll = rng.normal(size=len(kinds)) - 3.0 * np.array([kind == "cut" for kind in kinds])
    nll[: clean // 2] -= 10  # clean examples that no cut applies to have the lowest scores of all
    examples = pl.DataFrame(
        {
            "id": [f"{seed}-{half}-{n:03}" for n in range(len(kinds))],
            "source": ["a", "b"] * (len(kinds) // 2) + ["a"] * (len(kinds) % 2),
            "kind": kinds,
            "severity": [0.5 if kind == "cut" else None for kind in kinds],
            "applicable": [["swap", "asked"] + ([] if n < clean // 2 else ["cut"]) for n in range(len(kinds))],
            "n_tokens": rng.integers(1, 30, len(kinds)),
            "control": ["hard" if n % 5 == 0 and n < clean else None for n in range(len(kinds))],
            "nll": nll,
            "router": rng.normal(size=len(kinds)),
            "layer_scores": [[float(value), 0.0] for value in nll],
            "probe_kind": [[float(n), float(-n), 0.0] for n in range(len(kinds))],
            "probe_source": rng.normal(size=len(kinds)),
        },
        schema_overrides={"control": pl.String},
    )
    empty = pl.DataFrame(schema={"arm": pl.String, "ratio": pl.Float64})
    return Case(noise, half, seed, KINDS, [], examples, empty if trained is None else trained)


def test_a_kind_is_compared_with_the_clean_examples_that_it_could_have_been_made_of():
    given = case()
    frame = study.scored(given, "nll", "cut")
    assert frame["kind"].value_counts().sort("kind").rows() == [("clean", 20), ("cut", 10)]
    expected = roc_auc_score((frame["kind"] == "clean").to_numpy(), frame["nll"].to_numpy())
    assert study.auroc([given], "nll", "cut") == {1: pytest.approx(expected)}
    assert expected > 0.9  # of all forty clean examples it would be about a half


def test_an_example_without_a_score_stands_below_all_others_and_is_counted():
    given = case()
    swaps = pl.col("kind") == "swap"
    nll = pl.when(swaps).then(None).otherwise("nll")
    without = replace(given, examples=given.examples.with_columns(nll=nll))
    assert study.auroc([without], "nll", "swap") == {1: 1.0}
    rows, _ = study.detection([without], ["nll"], resamples=10)
    counted = {row["kind"]: row["without"] for row in rows if row["method"] == "nll"}
    assert (counted["swap"], counted["cut"]) == (10, 0)


def test_what_any_score_should_see_is_in_no_mean():
    given = replace(case(), sanity=["cut"])
    rows, found = study.detection([given], ["nll"], resamples=10)
    assert found["nll", "mean"] == found["nll", "swap"]
    assert {"cut", "swap", "asked"} <= {row["kind"] for row in rows}


def test_a_difference_is_of_the_same_resampled_examples():
    cases = [case(seed) for seed in (1, 2)]
    _, found = study.detection(cases, ["nll", "router"], resamples=10)
    rows = study.differences(cases, found, ["router", "nll"], ["nll"], ["router"], resamples=200)
    row = next(row for row in rows if row["kind"] == "cut")
    assert (row["method"], row["against"]) == ("router", "nll")
    assert row["bootstrap"]["low"] < row["value"] < row["bootstrap"]["high"] < 0
    alone = study.differences(cases, found, ["router"], ["router"], ["router"], resamples=10)
    assert alone == []  # nothing but itself to compare it with
    assert next(row for row in rows if row["kind"] == "mean")["bootstrap"] is None


def test_the_probe_has_a_score_for_each_kind_that_it_did_not_see():
    given = case()
    assert study.auroc([given], "probe_kind", "cut") == {1: 0.0}  # rising over clean examples, cuts come behind them
    assert study.auroc([given], "probe_kind", "swap") == {1: 1.0}


def test_areas_are_averaged_over_halves_and_then_over_seeds_with_students_interval():
    cases = [case(seed, half) for seed in (1, 2, 3) for half in (0, 1)]
    rows, found = study.detection(cases, ["nll"], resamples=50)
    by_seed = [
        np.mean([study.auroc([one], "nll", "cut")[one.seed] for one in cases if one.seed == seed]) for seed in (1, 2, 3)
    ]
    row = next(row for row in rows if (row["method"], row["kind"]) == ("nll", "cut"))
    half = t.ppf(0.975, 2) * np.std(by_seed, ddof=1) / np.sqrt(3)
    assert row["auroc"]["value"] == pytest.approx(np.mean(by_seed))
    assert row["auroc"]["low"] == pytest.approx(np.mean(by_seed) - half)
    assert row["corrupted"] == 60
    assert row["p"] == pytest.approx(1 / 51)  # no permutation of fifty reaches it
    assert row["holm"] == pytest.approx(3 / 51)  # three kinds were tested
    assert row["bootstrap"]["low"] > 0.9
    overall = next(row for row in rows if (row["method"], row["kind"]) == ("nll", "mean"))
    harmful = [study.interval(found["nll", kind])["value"] for kind in ("cut", "swap")]
    assert overall["auroc"]["value"] == pytest.approx(np.mean(harmful))  # without the control


def test_a_claim_holds_where_all_lower_bounds_are_above_zero():
    found = {
        ("router", "cut"): {1: 0.9, 2: 0.92, 3: 0.91},
        ("router", "swap"): {1: 0.6, 2: 0.5, 3: 0.55},
        ("nll", "cut"): {1: 0.7, 2: 0.71, 3: 0.7},
        ("nll", "swap"): {1: 0.5, 2: 0.55, 3: 0.5},
        ("length", "cut"): {1: 0.5, 2: 0.5, 3: 0.5},
        ("length", "swap"): {1: 0.52, 2: 0.52, 3: 0.52},
    }
    held = study.claimed(found, "router", ["length", "nll"], ["cut"])
    assert held["held"]
    assert held["kinds"][0]["best"] == "nll"
    assert held["kinds"][0]["difference"]["value"] == pytest.approx((0.2 + 0.21 + 0.21) / 3)
    lost = study.claimed(found, "router", ["length", "nll"], ["cut", "swap"])
    assert not lost["held"]
    assert lost["kinds"][1]["best"] == "length"  # 0.52 against 0.517


def test_a_number_that_one_seed_lacks_is_of_the_others():
    assert study.interval({1: 0.5, 2: None}) == {"value": 0.5, "low": None, "high": None}
    assert study.interval({}) == {"value": None, "low": None, "high": None}
    assert study.difference({1: 2.0, 2: None}, {1: 0.5, 2: 1.0}) == {1: 1.5, 2: None}
    assert study.mean([{1: 1.0, 2: 2.0}, {1: 3.0, 2: None}]) == {1: 2.0, 2: None}


def trained(losses):
    """Two held-out examples of 10 and 30 tokens for each arm: a loss per token, and one right answer of two."""
    return pl.DataFrame(
        [
            (arm, ratio, id, loss * tokens, tokens, id == "x", 0.1)
            for (arm, ratio), loss in losses.items()
            for id, tokens in (("x", 10), ("y", 30))
        ],
        schema=["arm", "ratio", "id", "nats", "tokens", "right", "kept_corrupted"],
        orient="row",
        strict=False,
    )


def test_the_oracle_gap_is_paired_by_seed():
    cases = [
        case(
            seed, trained=trained({("random", 0.2): 3.1, ("oracle", 0.2): oracle, ("nll", 0.2): nll, ("base", None): 5})
        )
        for seed, oracle, nll in ((1, 2.82, 3.0), (2, 2.78, 2.9), (3, 2.8, 2.95))  # gaps of 0.28, 0.32 and 0.3
    ]
    rows = {row["arm"]: row for row in study.training(cases)}
    assert rows["nll"]["nats"]["value"] == pytest.approx(2.95)
    assert rows["nll"]["against_random"]["value"] == pytest.approx(-0.15)
    assert rows["nll"]["gap"]["value"] == pytest.approx(0.15 / 0.3)
    assert rows["nll"]["right"]["value"] == 0.5
    assert rows["random"]["against_random"] is rows["random"]["gap"] is None
    assert rows["oracle"]["gap"] is None
    assert rows["base"]["ratio"] is None
    assert rows["base"]["against_random"] is None
    assert rows["nll"]["kept_corrupted"] == pytest.approx(0.1)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_hardly_a_gap_is_not_divided_by_and_one_seed_shows_none(seeds):
    losses = {("random", 0.2): 3.0, ("oracle", 0.2): 2.999 if len(seeds) > 1 else 2.5, ("nll", 0.2): 2.9}
    rows = {row["arm"]: row for row in study.training([case(seed, trained=trained(losses)) for seed in seeds])}
    assert rows["nll"]["gap"] is None


def test_an_oracle_that_is_not_told_from_random_has_no_gap():
    lost = [{("random", 0.2): 3.0, ("oracle", 0.2): oracle, ("nll", 0.2): 2.9} for oracle in (2.8, 2.9, 3.05)]
    rows = {
        row["arm"]: row for row in study.training([case(seed, trained=trained(own)) for seed, own in enumerate(lost)])
    }
    assert rows["oracle"]["against_random"]["value"] == pytest.approx(-0.25 / 3)
    assert rows["oracle"]["against_random"]["high"] > 0
    assert rows["nll"]["gap"] is None


def test_layers_are_judged_alone():
    first, second = study.layers([case(1), case(2)])
    assert first["auroc"]["value"] > 0.6
    assert second["auroc"]["value"] == 0.5  # of a constant


def test_doses_are_of_the_kinds_that_every_share_of_noise_can_judge():
    applicable = pl.col("applicable").list.set_difference(["cut"])
    more = case(noise=0.7)
    more = replace(more, examples=more.examples.with_columns(applicable=applicable))  # no clean example could be cut
    rows = study.doses([case(), more], ["nll"])
    assert [row["without"] for row in rows] == [["cut"], ["cut"]]
    swaps = [study.auroc([one], "nll", "swap")[1] for one in (case(), more)]
    assert [row["auroc"]["value"] for row in rows] == swaps


def test_the_control_is_no_noise():
    given = case()
    (row, *_) = study.precision([given], ["nll"])
    assert row["chance"] == pytest.approx(40 / 60)
    (lost, *_) = study.rejections([given], ["nll"])
    assert lost["hard"]["value"] is not None
    assert lost["easy"]["value"] is None
    assert {row["kind"] for row in study.severities([given], ["nll"])} <= {"cut", "swap"}


def test_the_goals_say_what_was_found():
    found = {
        ("router", "mean"): {1: 0.85, 2: 0.87},
        ("nll", "mean"): {1: 0.75, 2: 0.76},
        ("length", "mean"): {1: 0.5, 2: 0.5},
    }
    lost = [
        {"method": method, "recall": 0.5, "hard": {"value": hard, "low": hard - 0.02, "high": hard + 0.02}}
        for method, hard in (("router", 0.1), ("nll", 0.3))
    ]
    apart = {"value": -0.028, "low": -0.059, "high": 0.003}
    oracle = {"arm": "oracle", "ratio": 0.2, "gap": None, "against_random": apart}
    tuned = [{"arm": "router", "ratio": 0.2, "gap": {"value": 0.4, "low": 0.35, "high": 0.45}}, oracle]
    above, enough, hard, gap = study.goals(found, "router", ["nll", "length"], lost, tuned)
    assert hard["found"] == "10.0% [8.0%, 12.0%] against 30.0% [28.0%, 32.0%]"
    assert above["found"] == "+0.105 [+0.041, +0.169] over nll"
    assert (above["reached"], enough["reached"], hard["reached"], gap["reached"]) == (True, True, True, False)
    assert gap["found"] == "0.40 [0.35, 0.45]"
    tuned[0]["gap"] = {"value": 0.68, "low": -0.48, "high": 1.83}
    *_, gap = study.goals(found, "router", ["nll", "length"], lost, tuned)
    assert gap["reached"] is None  # of what may be nothing or all
    tuned[0]["gap"] = None
    *_, gap = study.goals(found, "router", ["nll", "length"], lost, tuned)
    assert gap["found"] == "the oracle minus random is -0.028 [-0.059, +0.003] nats, not told from zero"
    assert gap["reached"] is None
