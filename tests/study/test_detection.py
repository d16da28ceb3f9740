import json

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from moesift.study.detection import (
    areas,
    false_rejection,
    length_bins,
    length_correlation,
    precision_at,
    severity_correlation,
    source_variance,
    stratified_area,
)

SCHEMA = {
    "id": pl.String,
    "source": pl.String,
    "kind": pl.String,
    "control": pl.String,
    "severity": pl.Float64,
    "n_tokens": pl.Int64,
    "score": pl.Float64,
}
SMALL = pl.DataFrame(
    [
        ("a", "s", "clean", "easy", None, 10, 5.0),
        ("b", "s", "clean", "hard", None, 20, 2.0),
        ("c", "t", "clean", None, None, 30, 3.0),
        ("d", "t", "clean", "hard", None, 40, None),
        ("e", "s", "swap", None, 1.0, 50, 2.0),
        ("f", "t", "swap", None, 0.5, 60, 4.0),
        ("g", "t", "swap", None, 0.5, 70, None),
        ("h", "s", "cut", None, 0.25, 80, 1.0),
        ("i", "t", "lost", None, 0.75, 90, None),
    ],
    schema=SCHEMA,
    orient="row",
)
EMPTY = SMALL.clear()


def drawn(rows=300, seed=0):
    """Examples with many equal scores, of three sources, a third of them of two kinds of corruption."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(["clean", "swap", "cut"], rows, p=[0.66, 0.17, 0.17])
    return pl.DataFrame(
        {
            "id": [f"{row:03d}" for row in range(rows)],
            "source": rng.choice(["s", "t", "u"], rows),
            "kind": kind,
            "control": [None] * rows,
            "severity": [None if each == "clean" else rng.integers(1, 5) / 4 for each in kind],
            "n_tokens": rng.integers(1, 200, rows),
            "score": (rng.normal(size=rows) * 3 + 3 * (kind == "clean")).round(),
        },
        schema=SCHEMA,
    )


def test_the_areas_of_a_case_worked_by_hand():
    # swap: 2 and 4 against 5, 2, 3. Pairs 2.5 + 1. Up from the lowest score, 2 is found among two, 4 among four.
    # All: 1, 2, 4; found among one, three and five.
    assert areas(SMALL).rows() == [
        ("cut", 1.0, 1.0, 1 / 4, 3, 1, 0, 1),
        ("lost", None, None, None, 3, 0, 1, 1),
        ("swap", pytest.approx(3.5 / 6), pytest.approx((1 / 2 + 2 / 4) / 2), 2 / 5, 3, 2, 1, 1),
        ("all kinds", pytest.approx(6.5 / 9), pytest.approx((1 + 2 / 3 + 3 / 5) / 3), 3 / 6, 3, 3, 2, 1),
    ]
    assert areas(SMALL).columns == [
        *("kind", "auroc", "auprc", "chance", "clean", "corrupted", "without", "clean_without"),
    ]


def test_the_areas_are_those_of_sklearn():
    frame = drawn()
    found = areas(frame)
    assert found["kind"].to_list() == ["cut", "swap", "all kinds"]
    for kind, auroc, auprc, chance in found.select("kind", "auroc", "auprc", "chance").iter_rows():
        of_two = frame.filter(pl.col("kind").is_in(["clean", *(["cut", "swap"] if kind == "all kinds" else [kind])]))
        corrupted = (of_two["kind"] != "clean").to_numpy()
        score = of_two["score"].to_numpy()
        assert auroc == pytest.approx(roc_auc_score(corrupted, -score))
        assert auprc == pytest.approx(average_precision_score(corrupted, -score))
        assert chance == pytest.approx(corrupted.mean())


def test_a_score_that_is_no_number_is_none():
    broken = SMALL.with_columns(pl.col("score").fill_null(float("nan")))
    assert areas(broken).equals(areas(SMALL))
    assert stratified_area(broken, ["source"]).equals(stratified_area(SMALL, ["source"]))
    assert precision_at(broken, [0.5]).equals(precision_at(SMALL, [0.5]))


def test_only_pairs_of_one_stratum_are_compared():
    # In s 5 and 2 are clean, 2 (swap) and 1 (cut) not: pairs 1 + 0.5 and 2. In t 3 is clean, and 4 (swap) is above it.
    assert stratified_area(SMALL, ["source"]).rows() == [
        ("cut", 1.0, 1.0, 2),
        ("lost", None, None, 0),
        ("swap", pytest.approx((1.5 + 0) / 3), 1.0, 3),
        ("all kinds", pytest.approx((3.5 + 0) / 5), 1.0, 5),
    ]
    # At the edge of 50 tokens e and f are with the clean ones or not.
    binned = SMALL.with_columns(bin=pl.col("n_tokens") > 50)
    assert stratified_area(binned, ["source", "bin"]).rows() == [
        ("cut", None, 0.0, 0),
        ("lost", None, None, 0),
        ("swap", 0.75, 0.5, 2),
        ("all kinds", 0.75, pytest.approx(1 / 3), 2),
    ]


def test_a_score_that_tells_sources_only_is_seen_through():
    frame = pl.DataFrame(
        {"source": ["s"] * 4 + ["t"] * 4, "kind": ["clean"] * 3 + ["cut"] * 4 + ["clean"], "score": [1.0] * 4 + [0] * 4}
    )
    assert stratified_area(frame, ["source"])["auroc"].to_list() == [0.5, 0.5]
    assert areas(frame)["auroc"].to_list() == [0.75, 0.75]
    unknown = frame.with_columns(source=pl.when(pl.col("source") == "s").then(pl.lit("s")))
    assert stratified_area(unknown, ["source"]).rows()[0] == ("cut", 0.5, 0.25, 3)  # what is unknown is not a stratum


def test_the_stratified_area_is_the_mean_of_those_of_sklearn_by_pairs():
    frame = drawn().filter(pl.col("kind") != "cut")
    parts = frame.partition_by("source")
    corrupted = [(part["kind"] != "clean").to_numpy() for part in parts]
    pairs = [labels.sum() * (~labels).sum() for labels in corrupted]
    each = [roc_auc_score(labels, -part["score"].to_numpy()) for labels, part in zip(corrupted, parts, strict=True)]
    assert stratified_area(frame, ["source"]).rows()[0] == (
        *("swap", pytest.approx(np.average(each, weights=pairs)), 1.0, sum(pairs)),
    )


def test_lengths_are_binned_by_quantiles_and_equal_ones_together():
    assert length_bins(pl.Series("n", [8, 1, 7, 2, 6, 3, 5, 4]), 4).to_list() == [3, 0, 3, 0, 2, 1, 2, 1]
    assert length_bins(pl.Series("n", [1, 1, 1, 1, 1, 2, 3, 9]), 4).to_list() == [0, 0, 0, 0, 0, 1, 2, 2]
    assert length_bins(pl.Series("n", [1] * 4 + [9] * 4), 4).to_list() == [0] * 4 + [1] * 4  # none between the two
    assert length_bins(pl.Series("n", [4, 4, 4]), 5).to_list() == [0, 0, 0]
    assert length_bins(pl.Series("n", [], dtype=pl.Int64), 5).to_list() == []
    even = length_bins(pl.Series("n", np.random.default_rng(0).permutation(1000)), 5)
    assert even.value_counts(sort=True)["count"].to_list() == [200] * 5
    assert even.name == "n"
    assert even.dtype == pl.Int64


def test_the_best_and_the_lowest_share_with_ties_by_id():
    # Best first a 5, f 4 (swap), c 3, b 2, e 2 (swap), h 1 (cut).
    for frame in (SMALL, SMALL.reverse()):
        assert precision_at(frame, [0.01, 1 / 3, 2 / 3, 1.0]).rows() == [
            (0.01, 1, 1.0, 0.0, 1.0),
            (1 / 3, 2, 0.5, 0.5, 1.0),
            (2 / 3, 4, 0.75, 0.25, 0.5),
            (1.0, 6, 0.5, 0.5, 0.5),
        ]
    assert precision_at(EMPTY, [0.1]).rows() == [(0.1, 0, None, None, None)]


def test_the_score_of_a_kind_goes_with_its_severity():
    rows = [("swap", 1.0, 1.0), ("swap", 0.5, 2.0), ("swap", 0.2, 3.0), ("cut", 0.5, 1.0), ("cut", 0.5, 2.0)]
    rows += [("flat", 0.5, 1.0), ("flat", 1.0, 1.0), ("none", None, 1.0), ("clean", None, 9.0), ("swap", 0.1, None)]
    frame = pl.DataFrame(rows, schema=["kind", "severity", "score"], orient="row")
    found = severity_correlation(frame)
    assert found.rows() == [("cut", None, 2), ("flat", None, 2), ("none", None, 0), ("swap", pytest.approx(-1.0), 3)]
    assert severity_correlation(SMALL).rows() == [("cut", None, 1), ("lost", None, 0), ("swap", pytest.approx(-1.0), 2)]
    frame = drawn()
    for kind, rho, examples in severity_correlation(frame).iter_rows():
        part = frame.filter(kind=kind)
        assert examples == part.height
        assert rho == pytest.approx(spearmanr(part["severity"], part["score"]).statistic)


def test_the_length_of_clean_examples_and_of_all():
    # Clean 10, 20, 30 have the ranks 3, 1, 2 of their scores: 1 - 6 (4 + 1 + 1) / (3 * 8) = -0.5.
    found = length_correlation(SMALL)
    assert found["clean"] == pytest.approx(-0.5)
    scored = SMALL.drop_nulls("score")
    assert found["all"] == pytest.approx(spearmanr(scored["n_tokens"], scored["score"]).statistic)
    assert length_correlation(SMALL.with_columns(n_tokens=7)) == {"clean": None, "all": None}


def test_the_source_explains_its_share_of_the_ranks_of_clean_examples():
    def clean(sources, scores):
        return pl.DataFrame({"source": list(sources), "kind": ["clean"] * len(scores), "score": scores})

    # Ranks 1, 2 and 3, 4: means 1.5 and 3.5, between 4 * 1, total 5. How far the last one is does not matter.
    assert source_variance(clean("sstt", [0.1, 0.2, 0.3, 1e9])) == pytest.approx(4 / 5)
    # With ties: ranks 1.5, 1.5 and 3.5, 3.5 are all between.
    assert source_variance(clean("sstt", [0.0, 0.0, 1.0, 1.0])) == pytest.approx(1.0)
    # Ranks 1, 4 and 2.5, 2.5: both means are 2.5.
    assert source_variance(clean("sstt", [0.0, 3.0, 1.0, 1.0])) == pytest.approx(0.0, abs=1e-12)
    assert source_variance(clean("sss", [0.0, 1.0, 2.0])) is None
    assert source_variance(clean("sst", [1.0, 1.0, 1.0])) is None
    # Of the small pool 5 and 2 are of s and 3 of t, ranks 3, 1 and 2: both means are 2. Corrupted ones have no say.
    assert source_variance(SMALL) == pytest.approx(0.0, abs=1e-12)


def test_what_rejecting_the_corrupted_costs_the_clean():
    # Corrupted 1, 2, 4; clean 2 (hard), 3 and 5 (easy).
    assert false_rejection(SMALL, [0.3, 0.5, 2 / 3, 0.9]).rows() == [
        (0.3, 1.0, pytest.approx(1 / 3), 0.0, 0.0, 0.0),
        (0.5, 2.0, pytest.approx(2 / 3), pytest.approx(1 / 3), 1.0, 0.0),
        (2 / 3, 2.0, pytest.approx(2 / 3), pytest.approx(1 / 3), 1.0, 0.0),
        (0.9, 4.0, 1.0, pytest.approx(2 / 3), 1.0, 0.0),
    ]


def test_ties_with_the_threshold_are_rejected_and_a_recall_is_met_exactly_where_it_can_be():
    tied = pl.DataFrame({"kind": ["cut"] * 4 + ["clean"], "control": [None] * 5, "score": [1.0, 2.0, 2.0, 3.0, 2.0]})
    assert false_rejection(tied, [0.5]).rows() == [(0.5, 2.0, 0.75, 1.0, None, None)]
    hundred = pl.DataFrame({"kind": ["cut"] * 100, "control": [None] * 100, "score": np.arange(100.0)})
    assert false_rejection(hundred, [0.07])["reached"].to_list() == [0.07]  # 0.07 * 100 is above 7 in floating point
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"in \(0, 1\], not"):
            false_rejection(tied, [wrong])


@pytest.mark.parametrize(
    "frame",
    [
        EMPTY,
        SMALL.with_columns(score=pl.lit(None, pl.Float64)),
        SMALL.with_columns(score=pl.lit(None), severity=pl.lit(None), control=pl.lit(None)),  # of no type either
        SMALL.filter(pl.col("kind") == "clean"),
        SMALL.filter(pl.col("kind") != "clean"),
        SMALL.head(1),
        SMALL.filter(pl.col("id") == "h"),
        SMALL.with_columns(score=1.0),
        SMALL.with_columns(score=pl.lit(1)),
    ],
)
def test_whatever_is_missing_is_null_and_never_nan(frame):
    tables = [
        areas(frame),
        stratified_area(frame, ["source"]),
        precision_at(frame, [0.05, 0.5]),
        severity_correlation(frame),
        false_rejection(frame, [0.5, 0.9]),
    ]
    numbers = [length_correlation(frame), source_variance(frame), *(table.to_dicts() for table in tables)]
    json.dumps(numbers, allow_nan=False)


def test_without_corruptions_there_is_nothing_to_find():
    clean = SMALL.filter(pl.col("kind") == "clean")
    assert areas(clean).rows() == [("all kinds", None, None, None, 3, 0, 0, 1)]
    assert stratified_area(clean, ["source"]).rows() == [("all kinds", None, None, 0)]
    assert severity_correlation(clean).height == 0
    assert false_rejection(clean, [0.5]).rows() == [(0.5, None, None, None, None, None)]
