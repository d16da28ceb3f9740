import numpy as np
import polars as pl
import pytest
from moesift.report.metrics import (
    against_random,
    against_random_by_question,
    auroc,
    discrimination,
    discrimination_over_seeds,
    kept_corruption,
    main_metric,
    outcomes,
    over_seeds,
)
from sklearn.metrics import roc_auc_score

from moesift.errors import UserError

POOL = pl.DataFrame({"id": list("abcdef"), "corruption": ["clean", "clean", "clean", "truncated", "truncated", "swap"]})
SCORES = pl.DataFrame(
    {
        "method": ["m"] * 6,
        "seed": [0] * 6,
        "id": list("fedcba"),
        "score": [None, 1.0, 2.0, 2.0, 3.0, 0.0],  # of f, e, d, c, b, a
    }
)


def by_pairs(clean, corrupted):
    """Count the pairs that are in order, ties as half."""
    return float(np.mean([(c > b) + (c == b) / 2 for c in clean for b in corrupted]))


def measured(*rows):
    names = ["method", "ratio", "seed", "outcome", "value", "stderr"]
    types = [pl.String, pl.Float64, pl.Int64, pl.String, pl.Float64, pl.Float64]
    return pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_is_the_share_of_ordered_pairs(ties):
    rng = np.random.default_rng(0)
    clean, corrupted = rng.normal(0.5, 1, 40), rng.normal(0, 1, 30)
    if ties:
        clean, corrupted = clean.round(), corrupted.round()
    found = auroc(clean, corrupted)
    assert found.value == pytest.approx(by_pairs(clean, corrupted))
    truth = np.r_[np.ones(40), np.zeros(30)]
    assert found.value == pytest.approx(roc_auc_score(truth, np.r_[clean, corrupted]))


def test_the_interval_has_the_width_of_the_bootstrap():
    rng = np.random.default_rng(0)
    clean, corrupted = rng.normal(0.7, 1, 150), rng.normal(0, 1, 100)
    found = auroc(clean, corrupted)
    resampled = [auroc(rng.choice(clean, 150), rng.choice(corrupted, 100)).value for _ in range(2000)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert found.value - found.half == pytest.approx(low, abs=0.01)
    assert found.value + found.half == pytest.approx(high, abs=0.01)


def test_the_interval_of_a_case_worked_by_hand():
    # Placements of 1, 3 among 0, 2: 1/2, 1; of 0, 2 among 1, 3: 1, 1/2. Each mean has the variance 1/8 / 2 = 1/16.
    assert auroc(np.array([1.0, 3.0]), np.array([0.0, 2.0])) == (0.75, pytest.approx(1.959964 * np.sqrt(1 / 8)))


def test_an_empty_class_has_no_area_and_one_example_no_interval():
    some, none, one = np.array([1.0, 2.0]), np.array([]), np.array([1.5])
    assert auroc(some, none) is None
    assert auroc(none, some) is None
    assert auroc(some, one) == (0.5, None)


def test_each_kind_is_told_from_clean_and_only_by_examples_with_a_score():
    found = discrimination(SCORES, POOL)
    assert found.select("kind", "auroc", "clean", "corrupted").rows() == [
        ("swap", None, 3, 0),  # its one example has no score
        ("truncated", pytest.approx((0 + 0 + 1 + 0.5 + 1 + 1) / 6), 3, 2),
        ("all kinds", pytest.approx(3.5 / 6), 3, 2),
    ]


def test_a_pool_without_corruption_has_only_an_empty_row_of_all_kinds():
    clean = POOL.with_columns(corruption=pl.lit("clean"))
    assert discrimination(SCORES, clean).rows() == [("m", 0, "all kinds", None, None, 5, 0)]


def test_the_mean_over_seeds_keeps_the_width_of_one_seed():
    areas = pl.DataFrame({"method": ["m", "m"], "kind": ["k", "k"], "auroc": [0.5, 0.7], "half": [0.1, 0.1]})
    assert discrimination_over_seeds(areas).rows() == [("m", "k", 0.6, 0.1, 0.5, 0.7)]


def test_the_share_of_corrupted_examples_that_are_kept():
    kept = pl.DataFrame({"method": ["m"] * 5, "ratio": [0.3] * 2 + [0.5] * 3, "seed": [0] * 5, "id": list("bcbcd")})
    # b and c are clean, d is not.
    assert kept_corruption(kept, POOL).rows() == [("m", 0.3, 0, 2, 0.0), ("m", 0.5, 0, 3, pytest.approx(1 / 3))]


EVALUATION = {
    "method": "router",
    "ratio": 0.1,
    "seed": 3,
    "heldout": {"nll_per_token": 2.5, "stderr": 0.1, "tokens": 100, "examples": 10},
    "tasks": {
        "mmlu": {"metrics": {"acc": 0.25, "acc_stderr": 0.01}, "questions": 9, "version": 2},
        "mmlu_law": {"metrics": {"acc": 0.0}, "questions": 9, "version": 2},
        "gsm8k": {"metrics": {"exact_match": 0.5}, "questions": 4, "version": 3},
    },
}


def test_outcomes_take_the_tasks_asked_for():
    assert outcomes([EVALUATION], ["mmlu", "gsm8k"]).rows() == [
        ("router", 0.1, 3, "heldout", 2.5, 0.1),
        ("router", 0.1, 3, "mmlu", 0.25, 0.01),
        ("router", 0.1, 3, "gsm8k", 0.5, None),
    ]
    assert main_metric({"acc_norm": 1.0, "acc": 0.5}) == "acc"
    assert main_metric({"exact_match": 0.1, "f1": 0.5}) == "f1"  # as extractive questions are compared


def test_a_diverged_run_is_named():
    diverged = EVALUATION | {"heldout": {"nll_per_token": float("nan"), "stderr": 0.1}}
    with pytest.raises(UserError, match=r"\('router', 0.1, 3\) is nan: its tuning diverged"):
        outcomes([diverged], [])


def test_several_seeds_give_their_own_error_and_one_that_of_the_measurement():
    found = over_seeds(
        measured(
            ("base", None, None, "heldout", 5.0, 0.2),
            ("m", 0.1, 0, "heldout", 1.0, 0.5),
            ("m", 0.1, 1, "heldout", 3.0, 0.5),
        )
    )
    assert found.rows() == [
        # 1.96 standard errors of the measurement, and t(1) = 12.706 of those over seeds.
        ("base", None, "heldout", 5.0, 0.2, 1, pytest.approx(5 - 0.392, abs=1e-4), pytest.approx(5 + 0.392, abs=1e-4)),
        ("m", 0.1, "heldout", 2.0, pytest.approx(1.0), 2, pytest.approx(2 - 12.7062), pytest.approx(2 + 12.7062)),
    ]


def test_the_difference_to_random_is_paired_by_seed():
    rows = [("random", 0.1, seed, "heldout", value, 0.1) for seed, value in ((2, 3.0), (0, 1.0), (1, 2.0))]
    rows += [("m", 0.1, seed, "heldout", value, 0.1) for seed, value in ((0, 1.5), (1, 2.5), (2, 3.8))]
    rows += [("base", None, None, "heldout", 9.0, 0.1), ("m", 0.3, 0, "heldout", 9.0, 0.1)]
    # 0.5, 0.5, 0.8: mean 0.6, deviation 0.1732, t(2) = 4.3027
    half = 4.302653 * np.sqrt(0.03) / np.sqrt(3)
    assert against_random(measured(*rows)).rows() == [
        # t = 0.6 / 0.1 = 6; the two tails of t(2) are 1 - t / sqrt(t^2 + 2).
        (*("m", 0.1, "heldout"), *(pytest.approx(n) for n in (0.6, 0.6 - half, 0.6 + half, 1 - 6 / np.sqrt(38))), 3)
    ]


def test_one_seed_has_a_difference_without_an_interval():
    rows = [("random", 0.1, 0, "mmlu", 0.25, 0.1), ("m", 0.1, 0, "mmlu", 0.5, 0.1)]
    assert against_random(measured(*rows)).rows() == [("m", 0.1, "mmlu", 0.25, None, None, None, 1)]
    assert against_random(measured(rows[1])).height == 0


def test_seeds_that_all_differ_by_the_same_have_an_interval_and_no_test():
    rows = [
        (method, 0.1, seed, "mmlu", value, 0.1) for method, value in (("random", 0.5), ("m", 0.75)) for seed in (0, 1)
    ]
    assert against_random(measured(*rows)).rows() == [("m", 0.1, "mmlu", 0.25, 0.25, 0.25, None, 2)]


def asked(**methods):
    """Frames of questions: for each method its values of the task law (two questions) and sums (the rest)."""
    return pl.concat(
        pl.DataFrame(
            {
                "task": ["law"] * 2 + ["sums"] * (len(values) - 2),
                "doc_id": range(len(values)),
                "doc_hash": [f"{n}" for n in range(len(values))],
                "value": values,
            }
        ).with_columns(method=pl.lit(method), ratio=0.1, seed=pl.lit(0, pl.Int64), metric=pl.lit("acc"))
        for method, values in methods.items()
    )


def with_losses(questions, **nats):
    """Add three held-out examples of 1, 2 and 3 tokens."""
    parts = [questions]
    for method, values in nats.items():
        for metric, numbers in (("nats", values), ("tokens", [1.0, 2.0, 3.0])):
            rows = {"task": ["heldout"] * 3, "doc_id": range(3), "doc_hash": ["a", "b", "c"], "value": numbers}
            parts.append(
                pl.DataFrame(rows).with_columns(
                    method=pl.lit(method), ratio=0.1, seed=pl.lit(0, pl.Int64), metric=pl.lit(metric)
                )
            )
    return pl.concat(parts)


def test_an_interval_over_questions_is_paired_and_weighs_its_tasks():
    # Of law every question is won, of sums none: whatever is drawn within the tasks, the difference is law's share.
    found = with_losses(
        asked(m=[1.0, 1, 0, 1, 0, 1], random=[0.0, 0, 0, 1, 0, 1]), m=[1.0, 3.0, 5.0], random=[2.0, 5.0, 8.0]
    )
    rows = against_random_by_question(found, {"mmlu": ("acc", {"law": 0.25, "sums": 0.75})}).rows(named=True)
    (heldout, mmlu) = rows
    assert (mmlu["method"], mmlu["ratio"], mmlu["outcome"]) == ("m", 0.1, "mmlu")
    assert mmlu["low_questions"] == pytest.approx(0.25) == mmlu["high_questions"]
    # The losses differ by 1 nat a token whichever examples are drawn: the ratio is of sums.
    assert heldout["low_questions"] == pytest.approx(-1) == heldout["high_questions"]


def test_an_interval_over_many_questions_is_the_normal_one():
    rng = np.random.default_rng(0)
    ours, random = (rng.integers(2, size=2000).astype(float) for _ in range(2))
    found = with_losses(asked(m=ours.tolist(), random=random.tolist()), m=[1.0] * 3, random=[1.0] * 3)
    shares = {"law": 2 / 2000, "sums": 1998 / 2000}
    (row,) = against_random_by_question(found, {"t": ("acc", shares)}).filter(outcome="t").iter_rows(named=True)
    differences = ours - random
    half = 1.96 * differences.std(ddof=1) / np.sqrt(2000)
    assert row["low_questions"] == pytest.approx(differences.mean() - half, abs=0.1 * half)
    assert row["high_questions"] == pytest.approx(differences.mean() + half, abs=0.1 * half)


def test_runs_that_were_asked_other_questions_are_refused():
    found = with_losses(asked(m=[1.0, 0, 1], random=[0.0, 0, 1, 1]), m=[1.0] * 3, random=[1.0] * 3)
    with pytest.raises(UserError, match=r"ratio 0\.1 were not asked the same questions of t"):
        against_random_by_question(found, {"t": ("acc", {"law": 0.5, "sums": 0.5})})


def test_without_random_there_is_nothing_to_compare_by_question():
    found = with_losses(asked(m=[1.0, 0, 1]), m=[1.0] * 3)
    assert against_random_by_question(found, {"t": ("acc", {"law": 0.5, "sums": 0.5})}).height == 0
