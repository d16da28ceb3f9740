import json

import numpy as np
import polars as pl
import pytest
import yaml

from study.corruption import MEAN, detection, main, training
from study.experiments import read_study

with open("study/corruption.yaml", encoding="utf-8") as file:
    RAW = yaml.safe_load(file) | {
        "name": "tiny",
        "seeds": [1, 2],
        "halves": [["truncated", "gibberish"], ["empty"]],
        "baselines": ["nll", "length"],
        "claim": {"method": "router", "against": ["nll", "length"], "kinds": ["truncated", "empty"]},
    }
STUDY = read_study(RAW)
# By method and kind, of each seed: a number, or one of each experiment.
AREAS = {
    ("nll", "truncated"): ([0.7], [0.8]),
    ("nll", "empty"): ([0.5], [0.5]),
    ("nll", "gibberish"): ([0.9], [0.9]),
    ("nll", "perturbed_instruction"): ([0.4, 0.6], [0.5, 0.7]),
    ("length", "truncated"): ([0.6], [0.6]),
    ("length", "empty"): ([0.9], [0.9]),
    ("length", "gibberish"): ([0.1], [0.1]),
    ("length", "perturbed_instruction"): ([0.5, 0.5], [0.5, 0.5]),
    ("router", "truncated"): ([0.9], [0.99]),
    ("router", "empty"): ([0.2], [0.3]),
    ("router", "gibberish"): ([0.9], [1.0]),
    ("router", "perturbed_instruction"): ([0.5, 0.5], [0.5, 0.5]),
}


def auroc_table():
    rows = [
        (method, seed, kind, within, value)
        for (method, kind), by_seed in AREAS.items()
        for seed, values in enumerate(by_seed, 1)
        for value in values
        for within in ("pool", "source and length")
    ]
    # Of the report, which the study does not use: all kinds together, and what knows the labels.
    rows += [("nll", 1, "all", "pool", 0.123), ("oracle", 1, "truncated", "pool", 1.0)]
    return pl.DataFrame(rows, schema=["method", "seed", "kind", "within", "auroc"], orient="row")


def outcome_table():
    rows = [
        ("base", None, None, 1, 5.2),
        ("random", "tokens-0.2", 0.2, 1, 5.0),
        ("random", "tokens-0.2", 0.2, 2, 4.0),
        ("oracle", "tokens-0.2", 0.2, 1, 4.9),
        ("oracle", "tokens-0.2", 0.2, 2, 3.7),
        ("full", "ratio-1", 1.0, 1, 4.8),
        ("full", "ratio-1", 1.0, 1, 4.6),  # of another experiment
        ("full", "ratio-1", 1.0, 2, 3.6),
    ]
    frame = pl.DataFrame(rows, schema=["method", "budget", "ratio", "seed", "value"], orient="row")
    named = {"outcome": pl.lit("heldout"), "metric": pl.lit("nll"), "higher_is_better": pl.lit(False)}
    return frame.with_columns(**named, stderr=pl.lit(0.1))


def run_table():
    rows = [("random", "tokens-0.2", 1, 0.3), ("random", "tokens-0.2", 2, 0.4), ("oracle", "tokens-0.2", 1, 0.0)]
    return pl.DataFrame(rows, schema=["method", "budget", "seed", "corrupted"], orient="row")


def test_mean_over_kinds_leaves_out_the_control_and_what_any_score_finds():
    table = detection(auroc_table(), STUDY)["auroc"].filter(within="pool", kind=MEAN)
    assert dict(table.select("method", "value").rows()) == pytest.approx(
        {"nll": (0.6 + 0.65) / 2, "length": 0.75, "router": (0.55 + 0.645) / 2}
    )


def test_control_is_averaged_over_the_experiments_of_a_seed():
    row = detection(auroc_table(), STUDY)["auroc"].filter(within="pool", method="nll", kind="perturbed_instruction")
    assert row["value"].item() == pytest.approx((0.5 + 0.6) / 2)
    assert row["seeds"].item() == 2


def test_mean_over_kinds_is_null_where_a_kind_has_no_number():
    missing = auroc_table().filter(~((pl.col("method") == "nll") & (pl.col("kind") == "empty") & (pl.col("seed") == 2)))
    row = detection(missing, STUDY)["auroc"].filter(within="pool", method="nll", kind=MEAN)
    assert (row["value"].item(), row["seeds"].item()) == (pytest.approx(0.6), 1)


def test_differences_are_to_the_best_baseline_of_each_kind():
    table = detection(auroc_table(), STUDY)["differences"].filter(within="pool")
    numbers = {
        (kind, method): (against, value)
        for kind, method, against, value in table.select("kind", "method", "against", "value").iter_rows()
    }
    assert numbers["truncated", "router"] == ("nll", pytest.approx(0.195))
    assert numbers["empty", "router"] == ("length", pytest.approx(-0.65))
    assert ("empty", "length") not in numbers  # not with itself


def test_claim_holds_where_the_interval_of_the_difference_is_above_zero():
    claim = detection(auroc_table(), STUDY)["claim"]
    assert {row["kind"]: (row["against"], row["holds"]) for row in claim.iter_rows(named=True)} == {
        "truncated": ("nll", True),  # +0.2 and +0.19 on its two seeds
        "empty": ("length", False),
    }
    untested = detection(auroc_table().filter(seed=1), STUDY)["claim"]
    assert untested["holds"].to_list() == [None, None]  # of one seed there is no interval


def test_training_is_compared_with_random_of_the_same_budget_and_seed():
    tables = training(outcome_table(), run_table())
    columns = ["method", "budget", "value", "seeds"]
    assert tables["training"].select(columns).rows() == [
        ("oracle", "tokens-0.2", pytest.approx(-0.2), 2),
        ("full", "tokens-0.2", pytest.approx(-0.35), 2),  # as a reference, in every budget
    ]
    reached = {row["method"]: row for row in tables["outcomes"].iter_rows(named=True)}
    assert (reached["full"]["value"], reached["base"]["seeds"]) == (pytest.approx((4.7 + 3.6) / 2), 1)
    assert (reached["random"]["corrupted"], reached["oracle"]["corrupted"]) == (pytest.approx(0.35), 0.0)


def test_stage_writes_tables_figures_and_a_page_that_shows_them(tmp_path):
    for seed in (1, 2):
        for name, table in (("auroc", auroc_table()), ("outcomes", outcome_table()), ("runs", run_table())):
            (tmp_path / str(seed)).mkdir(exist_ok=True)
            table.filter(seed=seed).write_parquet(tmp_path / str(seed) / f"{name}.parquet")
    out = tmp_path / "out"
    main(json.dumps(RAW), [tmp_path / "1", tmp_path / "2"], [1, 2], out)
    page = (out / "README.md").read_text()
    for name in ("auroc", "differences", "claim", "outcomes", "training"):
        assert pl.read_parquet(out / f"{name}.parquet").height
        assert f"{name}.parquet" in page
    for figure in ("auroc.png", "training.png"):
        assert (out / figure).read_bytes().startswith(b"\x89PNG")
        assert f"({figure})" in page
    assert [line for line in page.splitlines() if "oracle" in line and "-0.200" in line]
    assert not np.isin(["nan", "None", "null"], page.split()).any()
