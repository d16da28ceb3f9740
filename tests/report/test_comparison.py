import itertools

import numpy as np
import polars as pl
import pytest
from given.comparison import METHODS, SHARES, evaluation

from moesift.errors import UserError
from moesift.report import comparison
from moesift.report.comparison import (
    against_random,
    budget_text,
    budgets_of,
    by_question,
    losses_of,
    missing_runs,
    outcome_text,
    outcomes_of,
    over_seeds,
    overview,
    runs_of,
    tasks_of,
)

RUNS = pl.DataFrame({"method": ["m"], "budget": ["ratio-0.1"], "seed": [3], "ratio": [0.1]})


def measured(*rows, better=False, outcome="heldout"):
    """Rows of method, budget, seed, value."""
    frame = pl.DataFrame(rows, ["method", "budget", "seed", "value"], orient="row").with_columns(
        ratio=pl.lit(0.1),
        outcome=pl.lit(outcome),
        metric=pl.lit("nll"),
        higher_is_better=pl.lit(better),
        stderr=pl.lit(0.2),
    )
    return frame.cast({"value": pl.Float64, "seed": pl.Int64})


def run(method, *values, budget="ratio-0.1"):
    return [(method, budget, seed, value) for seed, value in enumerate(values)]


def test_the_compared_metric_is_acc_then_f1_then_lm_evals_first():
    task = {
        **evaluation("m", None, None, 1.0)["tasks"]["mmlu"],
        "higher_is_better": dict.fromkeys(["acc", "f1", "x"], True),
    }
    for metrics, metric in (
        ({"acc_norm": 1, "acc": 0}, "acc"),
        ({"x": 0, "f1": 1}, "f1"),
        ({"x": 0.1, "x_stderr": 1}, "x"),
    ):
        one = evaluation("m", None, None, 1.0) | {"tasks": {"mmlu": {**task, "metrics": metrics}}}
        assert tasks_of([one])[0]["metric"] == metric


def test_evaluations_of_different_tasks_are_refused():
    other = evaluation("m", None, 0, 1.0)
    other["made_from"]["evaluation"] = {"tasks": []}
    with pytest.raises(UserError, match="different tasks"):
        tasks_of([evaluation("m", None, 0, 1.0), other])


def test_outcomes_are_one_row_a_number_and_know_which_is_better():
    perplexity = {"metrics": {"ppl": 12.0, "ppl_stderr": 1.0}, "higher_is_better": {"ppl": False}}
    one = evaluation("m", "ratio-0.1", 3, 2.5)
    one["tasks"]["mmlu"] |= perplexity
    assert outcomes_of([one], tasks_of([one]), RUNS).rows() == [
        ("m", "ratio-0.1", 0.1, 3, "heldout", "nll", False, 2.5, 0.02),
        ("m", "ratio-0.1", 0.1, 3, "mmlu", "ppl", False, 12.0, 1.0),
    ]


def test_the_mean_over_targets_comes_first_and_counts_each_as_much_as_another():
    one = evaluation("m", "ratio-0.1", 3, 2.5)
    one["targets"] = {"a": {"nll": 1.0, "stderr": 0.3}, "b": {"nll": 4.0, "stderr": 0.4}}
    outcomes = outcomes_of([one], tasks_of([one]), RUNS)
    assert outcomes.filter(metric="nll").select("outcome", "value", "stderr").rows() == [
        ("targets", 2.5, pytest.approx(0.25)),  # the root of 0.3² + 0.4², halved
        ("heldout:a", 1.0, 0.3),
        ("heldout:b", 4.0, 0.4),
        ("heldout", 2.5, 0.02),
    ]
    own = evaluation("rds.b", "ratio-0.1", 3, 2.5)
    own["targets"] = {"b": {"nll": 3.0, "stderr": 0.4}}  # selected for b alone, and measured on nothing else
    outcomes = outcomes_of([own, one], tasks_of([one]), RUNS)
    assert outcomes.filter(method="rds.b", metric="nll")["outcome"].to_list() == ["heldout:b", "heldout"]
    assert losses_of([own, one]) == losses_of([one])
    del one["targets"]["a"]
    assert [loss["name"] for loss in losses_of([one])] == ["heldout:b", "heldout"]
    with pytest.raises(UserError, match="different targets"):
        losses_of([one, evaluation("m", None, 0, 1.0)])


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_run_that_diverged_and_one_that_was_not_evaluated_are_missing(loss):
    runs = pl.concat([RUNS, RUNS.with_columns(seed=pl.lit(5, pl.Int64)), RUNS.with_columns(method=pl.lit("n"))])
    evaluations = [evaluation("m", "ratio-0.1", 3, loss), evaluation("n", "ratio-0.1", 3, 2.0)]
    outcomes = outcomes_of(evaluations, tasks_of(evaluations), runs)
    assert outcomes["value"].to_list() == [None, 0.25, 2.0, 0.25]
    assert missing_runs(runs, outcomes).to_dicts() == [{"method": "m", "budget": "ratio-0.1", "seeds": [3, 5]}]


def test_a_run_keeps_a_share_of_the_pool_and_of_its_corrupted_examples():
    pool = pl.DataFrame({"id": list("abcd"), "corruption": ["clean", "clean", "truncated", "truncated"]})
    kept = pl.DataFrame({"method": "m", "budget": "tokens-9", "seed": 0, "id": list("abc")})
    assert runs_of(kept, pool).rows() == [("m", "tokens-9", 0, 3, 0.75, pytest.approx(1 / 3))]
    assert runs_of(kept, pool.with_columns(corruption=pl.lit("clean")))["corrupted"].to_list() == [None]
    queries = kept.with_columns(id=pl.lit("a query"), budget=pl.lit("queries"))
    assert runs_of(queries, pool).rows() == [("m", "queries", 0, 3, 0.0, None)]


def test_several_seeds_have_their_own_error_and_one_that_of_the_measurement():
    rows = [*run("m", 1.0, 3.0), *run("m", 2.0, None, budget="ratio-0.05"), ("base", None, None, 5.0), *run("n", None)]
    found = over_seeds(measured(*rows)).select("method", "budget", "seeds", "value", "stderr", "low", "high")
    assert found.rows() == [
        # 1.96 standard errors of the measurement, 0.2; of two seeds t(1) = 12.706 of theirs, 1.
        ("m", "ratio-0.05", 1, 2.0, 0.2, pytest.approx(2 - 0.392, abs=1e-4), pytest.approx(2 + 0.392, abs=1e-4)),
        ("m", "ratio-0.1", 2, 2.0, pytest.approx(1.0), pytest.approx(2 - 12.7062), pytest.approx(2 + 12.7062)),
        ("n", "ratio-0.1", 0, None, None, None, None),
        ("base", None, 1, 5.0, 0.2, pytest.approx(5 - 0.392, abs=1e-4), pytest.approx(5 + 0.392, abs=1e-4)),
    ]


def test_the_difference_to_random_is_paired_by_seed():
    random = [("random", "ratio-0.1", seed, value) for seed, value in ((2, 3.0), (0, 1.0), (1, 2.0))]
    (found,) = against_random(measured(*random, *run("m", 1.5, 2.5, 3.8)), [], 3).to_dicts()
    half = 4.302653 * np.sqrt(0.03) / np.sqrt(3)  # differences 0.5, 0.5, 0.8
    assert (found["difference"], found["low"], found["high"]) == pytest.approx((0.6, 0.6 - half, 0.6 + half))
    assert (found["seeds"], found["verdict"]) == (3, "worse")


@pytest.mark.parametrize(("better", "verdict"), [(False, "better"), (True, "worse")])
def test_which_side_is_better_comes_with_the_outcome(better, verdict):
    rows = [*run("random", 1.0, 2.0, 3.0), *run("m", 0.5, 1.5, 2.4)]
    assert against_random(measured(*rows, better=better), [], 3)["verdict"].to_list() == [verdict]


def test_of_many_comparisons_chance_finds_nothing():
    rows = [*run("random", 0.0, 0.0, 0.0), *run("m", -0.5, -0.6, -0.9)]  # p = 0.03
    alone = against_random(measured(*rows), [], 3)
    assert alone["verdict"].to_list() == ["better"]
    others = [
        *run("n", 0.3, -0.2, 0.1),
        *run("random", 0, 0, 0, budget="ratio-0.3"),
        *run("m", 0.1, 0.1, 0.1, budget="ratio-0.3"),
    ]
    found = against_random(measured(*rows, *others), [], 3)
    assert found["p_holm"].to_list() == pytest.approx([3 * alone["p"][0], 1.0, 1.0])  # over methods and budgets
    assert set(found["verdict"]) == {"not significant"}


def test_single_targets_are_corrected_together_and_their_mean_by_itself():
    rows = [*run("random", 0.0, 0.0, 0.0), *run("m", -0.5, -0.6, -0.9)]  # p = 0.03
    outcomes = ("targets", "heldout:a", "heldout:b", "heldout:c", "heldout")
    found = against_random(pl.concat([measured(*rows, outcome=outcome) for outcome in outcomes]), [], 3)
    assert found["outcome"].to_list() == list(outcomes)
    assert (found["p_holm"] / found["p"]).to_list() == pytest.approx([1, 3, 3, 3, 1])
    assert found["verdict"].to_list() == ["better", *["not significant"] * 3, "better"]


def test_one_seed_or_a_missing_one_has_no_verdict():
    (one,) = against_random(measured(*run("random", 1.0), *run("m", 0.5)), [], 1).to_dicts()
    assert (one["difference"], one["low"], one["p"], one["verdict"]) == (-0.5, None, None, None)
    (two,) = against_random(measured(*run("random", 1.0, 2.0, 3.0), *run("m", 0.5, None, 2.4)), [], 3).to_dicts()
    assert (two["seeds"], two["difference"], two["verdict"]) == (2, pytest.approx(-0.55), None)
    assert two["low"] is not None
    (none,) = against_random(measured(*run("random", 1.0), *run("m", None)), [], 1).to_dicts()
    assert (none["seeds"], none["difference"]) == (0, None)


def test_the_untuned_target_the_whole_pool_and_the_queries_are_compared_within_each_budget_without_a_test():
    random = [*run("random", 1.0, 2.0), *run("random", 1.5, 2.5, budget="tokens-90")]
    rows = [*random, ("base", None, None, 5.0), *run("full", 0.5, 1.6, budget="ratio-1")]
    rows += run("queries_only", 2.0, 2.0, budget="queries")
    found = against_random(measured(*rows), METHODS, 2).select(
        "method", "budget", "seeds", "difference", "p_holm", "verdict"
    )
    assert found.rows() == [
        ("base", "ratio-0.1", 2, 3.5, None, None),
        ("base", "tokens-90", 2, 3.0, None, None),
        ("full", "ratio-0.1", 2, pytest.approx(-0.45), None, None),
        ("full", "tokens-90", 2, pytest.approx(-0.95), None, None),
        ("queries_only", "ratio-0.1", 2, 0.5, None, None),
        ("queries_only", "tokens-90", 2, 0.0, None, None),
    ]


def test_without_random_there_are_no_differences():
    assert against_random(measured(*run("m", 1.0)), METHODS, 1).is_empty()


def asked(values, metric, tasks, losses=(1.0, 2.0, 3.0)):
    """Questions of some tasks, and three held-out examples of 1, 2 and 3 tokens, of methods and their values."""
    frames = []
    for (method, answers), nll in zip(
        values.items(), losses if isinstance(losses[0], tuple) else [losses] * 9, strict=False
    ):
        rows = [(task, n, f"{n}", metric, value) for n, (task, value) in enumerate(zip(tasks, answers, strict=True))]
        rows += [("heldout", n, f"h{n}", "nll", value) for n, value in enumerate(nll)]
        rows += [("heldout", n, f"h{n}", "tokens", float(n + 1)) for n in range(3)]
        frame = pl.DataFrame(rows, ["task", "doc_id", "doc_hash", "metric", "value"], orient="row")
        run = {"method": pl.lit(method), "budget": pl.lit("ratio-0.1"), "seed": pl.lit(0)}
        frames.append(frame.cast({"value": pl.Float64}).with_columns(**run))
    return pl.concat(frames)


HELDOUT = {"name": "heldout", "metric": "nll", "shares": {"heldout": 1.0}}
MMLU = {"name": "mmlu", "metric": "acc", "shares": {"mmlu_law": 0.25, "mmlu_sums": 0.75}}
LAW = ["mmlu_law"] * 2 + ["mmlu_sums"] * 4


def test_an_interval_over_questions_is_paired_and_weighs_its_tasks():
    # Of law every question is won, of sums none: whatever is drawn within the tasks, the difference is law's share.
    # The losses differ by 1 nat a token whichever examples are drawn: the ratio is of sums.
    frame = asked(
        {"m": [1, 1, 0, 1, 0, 1], "random": [0, 0, 0, 1, 0, 1]}, "acc", LAW, [(1.0, 3.0, 5.0), (2.0, 5.0, 8.0)]
    )
    assert by_question(frame, [HELDOUT, MMLU]).rows() == [
        ("m", "ratio-0.1", "heldout", pytest.approx(-1), pytest.approx(-1)),
        ("m", "ratio-0.1", "mmlu", pytest.approx(0.25), pytest.approx(0.25)),
    ]


def test_an_interval_over_many_questions_is_the_normal_one():
    rng = np.random.default_rng(0)
    ours, random = rng.integers(2, size=2000), rng.integers(2, size=2000)
    task = {"name": "t", "metric": "acc", "shares": {"t": 1.0}}
    found = by_question(asked({"m": ours.tolist(), "random": random.tolist()}, "acc", ["t"] * 2000), [task])
    half = 1.96 * (ours - random).std(ddof=1) / np.sqrt(2000)
    expected = ((ours - random).mean() - half, (ours - random).mean() + half)
    assert found.filter(outcome="t").row(0)[3:] == pytest.approx(expected, abs=0.1 * half)


def test_runs_that_were_asked_other_questions_are_refused_and_one_that_diverged_is_left_out():
    frame = asked({"m": [1, 0, 1, 0, 1, 1], "random": [0, 0, 1, 1, 0, 0]}, "acc", LAW)
    with pytest.raises(UserError, match=r"ratio-0\.1: the runs were not asked the same questions of mmlu"):
        by_question(frame[1:], [MMLU])
    diverged = pl.when((pl.col("method") == "m") & (pl.col("metric") == "nll")).then(float("nan")).otherwise("value")
    assert by_question(frame.with_columns(value=diverged), [HELDOUT, MMLU])["outcome"].to_list() == ["mmlu"]
    assert by_question(frame.filter(method="m"), [HELDOUT, MMLU]).is_empty()
    assert by_question(frame, [{"name": "bleu", "metric": "bleu", "shares": SHARES}]).is_empty()


def test_held_out_examples_are_drawn_within_their_target_and_targets_count_alike():
    # A nat a token less on target a, of 2 examples, half a nat more on b, of 3: whatever is drawn within them.
    rows = []
    for task, tokens, more in (("heldout:a", (1.0, 3.0), -1.0), ("heldout:b", (10.0, 20.0, 30.0), 0.5)):
        for (doc, count), (method, change) in itertools.product(enumerate(tokens), (("m", more), ("random", 0.0))):
            run_and_example = (method, "ratio-0.1", 0, task, doc, f"{task} {doc}")
            rows += [(*run_and_example, "nll", count * (3 + change)), (*run_and_example, "tokens", count)]
    columns = ["method", "budget", "seed", "task", "doc_id", "doc_hash", "metric", "value"]
    one = evaluation("m", None, 0, 1.0, targets=("a", "b"))
    found = by_question(pl.DataFrame(rows, columns, orient="row"), losses_of([one]))
    assert found.rows() == [
        ("m", "ratio-0.1", "targets", pytest.approx(-0.25), pytest.approx(-0.25)),
        ("m", "ratio-0.1", "heldout:a", pytest.approx(-1), pytest.approx(-1)),
        ("m", "ratio-0.1", "heldout:b", pytest.approx(0.5), pytest.approx(0.5)),
    ]


def test_the_overview_begins_with_the_first_outcome():
    parts = [
        measured(*run("random", 1.0), *run("m", value), outcome=name)
        for name, value in (("targets", 0.5), ("heldout", 2.0))
    ]
    outcomes = pl.concat(parts)
    runs = pl.DataFrame({"method": ["m"], "budget": ["ratio-0.1"], "corrupted": [0.25]})
    assert overview(over_seeds(outcomes), against_random(outcomes, [], 1), runs).to_dicts()[1] == {
        **{"method": "m", "budget": "ratio-0.1", "targets": 0.5, "stderr": 0.2, "difference": -0.5},
        **{"corrupted": 0.25, "heldout": 2.0},
    }
    texts = [outcome_text(outcome) for outcome in ("heldout", "heldout:a", "targets")]
    assert texts == ["held-out loss", "held-out loss of a", "mean held-out loss of the targets"]


def test_budgets_are_ordered_by_kind_and_size_and_can_be_read():
    frame = pl.DataFrame(
        {"budget": ["tokens-20000", "queries", "ratio-0.1", "ratio-0.05", None, "tokens-0.05", "ratio-1"]}
    )
    ordered = budgets_of(frame)
    read = ["5%", "10%", "100%", "5% of the tokens", "20,000 tokens", "queries"]
    assert [budget_text(budget) for budget in ordered] == read


def test_selections_for_each_target_are_one_method_on_the_target_of_each():
    methods = [
        {"label": "rds.a", "each": "rds", "targets": ["a"]},
        {"label": "rds.b", "each": "rds", "targets": ["b"]},
        {"label": "random", "each": None, "targets": []},
    ]
    rows = [
        (method, "ratio-0.1", 0.1, 0, f"heldout:{target}", "nll", False, value, 0.3)
        for method, values in (("rds.a", (1.0, 9.0)), ("rds.b", (8.0, 2.0)), ("random", (3.0, 5.0)))
        for target, value in zip("ab", values, strict=True)
    ]
    rows.append(("random", "ratio-0.1", 0.1, 0, "targets", "nll", False, 4.0, 0.2))
    columns = ["method", "budget", "ratio", "seed", "outcome", "metric", "higher_is_better", "value", "stderr"]
    outcomes = pl.DataFrame(rows, schema=columns, orient="row")
    losses = [{"name": "targets", "metric": "nll", "shares": {"heldout:a": 0.5, "heldout:b": 0.5}}]
    found = comparison.with_means(comparison.of_own_target(outcomes, "outcome", methods), losses)
    assert found.select("method", "outcome", "value").rows() == [
        ("rds", "heldout:a", 1.0),
        ("rds", "heldout:b", 2.0),
        ("random", "heldout:a", 3.0),
        ("random", "heldout:b", 5.0),
        ("random", "targets", 4.0),
        ("rds", "targets", 1.5),
    ]
    assert found["stderr"].to_list()[-1] == pytest.approx((0.3**2 + 0.3**2) ** 0.5 / 2)
    assert comparison.of_own_target(outcomes, "outcome", methods[2:]).equals(outcomes)
