"""The comparison as tidy tables: one row a number, with method, budget, seed and outcome as columns."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from moesift.data.corruption import CLEAN
from moesift.errors import UserError
from moesift.report.detection import NORMAL_95
from moesift.report.statistics import Difference, holm, paired_ratios, paired_t, t_interval

BASE, RANDOM, HELDOUT = "base", "random", "heldout"
BETTER, WORSE, NOT_SIGNIFICANT = "better", "worse", "not significant"
LEVEL = 0.05
RESAMPLES = 1000  # of the questions, for an interval over them
OUTCOME = ["outcome", "metric", "higher_is_better"]

Evaluations = Sequence[Mapping[str, Any]]
Methods = Sequence[Mapping[str, Any]]


def tasks_of(evaluations: Evaluations) -> list[dict[str, Any]]:
    """Return the tasks that all runs were measured by: the settings, the compared metric, and what lm-eval says of it.

    Raises:
        UserError: the evaluations were made with different tasks.
    """
    settings = evaluations[0]["made_from"]["evaluation"]["tasks"]
    if any(evaluation["made_from"]["evaluation"]["tasks"] != settings for evaluation in evaluations):
        raise UserError("the evaluations were made with different tasks, so they cannot be compared; evaluate again")
    tasks = []
    for setting in settings:
        measured = evaluations[0]["tasks"][setting["name"]]
        metric = main_metric(measured["metrics"])
        about = {key: measured[key] for key in ("questions", "of", "fewshot", "version", "hash", "shares")}
        tasks.append({**setting, **about, "metric": metric, "higher_is_better": measured["higher_is_better"][metric]})
    return tasks


def main_metric(metrics: Mapping[str, float]) -> str:
    """Return the metric of a task that is compared: `acc`, else `f1`, else the first that lm-eval gives."""
    return next((name for name in ("acc", "f1") if name in metrics), next(iter(metrics)))


def runs_of(selections: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """Return what each run kept.

    Args:
        selections: columns method, budget, seed, id.
        pool: columns id, corruption.

    Returns:
        Columns method, budget, ratio (share of the pool's examples), seed, examples, corrupted (share of the kept
        examples; null where the pool has no labels).
    """
    corrupted = pool.select("id", corrupted=pl.col("corruption") != CLEAN)
    share = pl.col("corrupted").mean() if corrupted["corrupted"].any() else pl.lit(None, pl.Float64).alias("corrupted")
    return (
        selections.join(corrupted, on="id", maintain_order="left")
        .group_by("method", "budget", "seed", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("examples"), share)
        .select(
            "method", "budget", pl.col("examples").truediv(pool.height).alias("ratio"), "seed", "examples", "corrupted"
        )
    )


def outcomes_of(evaluations: Evaluations, tasks: Sequence[Mapping[str, Any]], runs: pl.DataFrame) -> pl.DataFrame:
    """Return what was measured of each tuned target, and of the untuned one.

    Args:
        evaluations: what `evaluate` wrote.
        tasks: see `tasks_of`.
        runs: see `runs_of`.

    Returns:
        Columns method, budget, ratio, seed (all three null of the untuned target), outcome (`heldout` or a task),
        metric, higher_is_better, value (null where it is not finite: the tuning diverged) and stderr (over examples or
        questions; null where lm-eval has none).
    """
    rows = []
    for evaluation in evaluations:
        run = (evaluation["method"], evaluation["budget"], evaluation["seed"])
        rows.append((*run, HELDOUT, "nll", False, evaluation["heldout"]["nll"], evaluation["heldout"]["stderr"]))
        for task in tasks:
            metric, metrics = task["metric"], evaluation["tasks"][task["name"]]["metrics"]
            better, error = task["higher_is_better"], metrics.get(f"{metric}_stderr")
            rows.append((*run, task["name"], metric, better, metrics[metric], error))
    types = [pl.String, pl.String, pl.Int64, pl.String, pl.String, pl.Boolean, pl.Float64, pl.Float64]
    names = ["method", "budget", "seed", *OUTCOME, "value", "stderr"]
    frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
    finite = [pl.when(pl.col(name).is_finite()).then(name) for name in ("value", "stderr")]
    key = ["method", "budget", "seed"]
    frame = frame.with_columns(finite).join(runs.select(*key, "ratio"), on=key, how="left", maintain_order="left")
    return frame.select("method", "budget", "ratio", "seed", *OUTCOME, "value", "stderr")


def missing_runs(outcomes: pl.DataFrame, methods: Methods, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return which runs have no held-out loss, by method, budget and reason: not evaluated, or diverged."""
    losses = {
        tuple(run): value
        for *run, value in outcomes.filter(outcome=HELDOUT)["method", "budget", "seed", "value"].iter_rows()
    }
    whole = whole_of(methods)
    budgets = budgets_of(outcomes.filter(~pl.col("method").is_in(whole)))
    found: dict[tuple[str, str, str], list[int]] = {}
    for label in (method["label"] for method in methods):
        for budget, seed in itertools.product(["ratio-1"] if label in whole else budgets, seeds):
            run = (label, budget, seed)
            if losses.get(run) is None:
                found.setdefault((label, budget, "diverged" if run in losses else "not evaluated"), []).append(seed)
    return [{"method": m, "budget": b, "reason": reason, "seeds": own} for (m, b, reason), own in found.items()]


def over_seeds(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return the mean of each outcome over the seeds.

    With two seeds or more the error is that over seeds, and the interval Student's. With one it is the error over
    examples or questions that came with the measurement, which says nothing about another seed.

    Returns:
        Columns method, budget, ratio, outcome, metric, higher_is_better, seeds (that have a number), value, stderr, low
        and high (95% interval).
    """
    rows = []
    for key, group in outcomes.group_by("method", "budget", *OUTCOME, maintain_order=True):
        values = group["value"].drop_nulls().to_numpy()
        mean, low, high = t_interval(values) if len(values) else (None, None, None)
        error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
        if len(values) == 1 and (error := group.drop_nulls("value")["stderr"].item()) is not None:
            low, high = mean - NORMAL_95 * error, mean + NORMAL_95 * error
        rows.append((*key[:2], group["ratio"].mean(), *key[2:], len(values), mean, error, low, high))
    names = ["method", "budget", "ratio", *OUTCOME, "seeds", "value", "stderr", "low", "high"]
    types = {"method": pl.String, "budget": pl.String, "outcome": pl.String, "metric": pl.String}
    types |= {"higher_is_better": pl.Boolean, "seeds": pl.Int64}
    frame = pl.DataFrame(rows, schema={name: types.get(name, pl.Float64) for name in names}, orient="row")
    order = {budget: place for place, budget in enumerate([*budgets_of(frame), None])}
    return frame.sort(pl.col("budget").replace_strict(order, return_dtype=pl.Int64), maintain_order=True)


def against_random(outcomes: pl.DataFrame, methods: Methods, seeds: int) -> pl.DataFrame:
    """Return each outcome's difference to random selection within the same budget, paired by seed.

    The untuned target and methods that keep the whole pool have no budget: they are compared within each. They are
    references: no test is made of them.

    Args:
        outcomes: see `outcomes_of`.
        methods: what `plan.describe` says of each.
        seeds: how many there should be of each run.

    Returns:
        Columns method, budget, ratio, outcome, metric, higher_is_better, seeds (pairs), difference (method minus random),
        low, high (95% interval over seeds), p (of the t-test), p_holm (Holm's, over methods and budgets of an outcome)
        and verdict (better, worse or not significant, at LEVEL). With one seed there is no interval and no verdict; nor
        is there a verdict where a seed is missing. Empty where nothing was selected at random.
    """
    random = outcomes.filter(method=RANDOM).select("budget", "seed", "outcome", random="value")
    references = {BASE: ["outcome"], **dict.fromkeys(whole_of(methods), ["seed", "outcome"])}
    rows = []
    for (method,), own in outcomes.filter(pl.col("method") != RANDOM).group_by("method", maintain_order=True):
        on = references.get(method, ["budget", "seed", "outcome"])
        pairs = own.drop([name for name in ("budget", "seed") if name not in on]).join(
            random, on=on, maintain_order="left"
        )
        for key, group in pairs.group_by("budget", *OUTCOME, maintain_order=True):
            found = (group["value"] - group["random"]).drop_nulls().to_numpy()
            test = paired_t(found) if len(found) else Difference(None, None, None, None)
            budget, *outcome = key
            rows.append((method, budget, group["ratio"].mean(), *outcome, len(found), *test))
    names = ["method", "budget", "ratio", *OUTCOME, "seeds", "difference", "low", "high", "p"]
    types = {"method": pl.String, "budget": pl.String, "outcome": pl.String, "metric": pl.String}
    types |= {"higher_is_better": pl.Boolean, "seeds": pl.Int64}
    frame = pl.DataFrame(rows, schema={name: types.get(name, pl.Float64) for name in names}, orient="row")
    tested = (pl.col("seeds") == max(seeds, 2)) & ~pl.col("method").is_in(list(references))
    # Equal differences have no test, and nothing to reject; they count as comparisons.
    adjust = pl.col("p").fill_null(1).map_batches(lambda p: pl.Series(holm(p.to_numpy())), pl.Float64)
    compared = frame.filter(tested).with_columns(p_holm=adjust.over("outcome"))
    is_better = (pl.col("difference") > 0) == pl.col("higher_is_better")
    sides = pl.when(pl.col("p_holm") > LEVEL).then(pl.lit(NOT_SIGNIFICANT)).when(is_better).then(pl.lit(BETTER))
    judged = compared.select("method", "budget", "outcome", "p_holm", verdict=sides.otherwise(pl.lit(WORSE)))
    return frame.join(judged, on=["method", "budget", "outcome"], how="left", maintain_order="left")


def by_question(questions: pl.DataFrame, tasks: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the interval of each difference to random over questions or held-out examples, paired by question.

    It says what other questions of the same tasks could give, and nothing about another seed; of several seeds it is
    that of the mean difference. Questions are resampled within each task. A run that diverged has none.

    Args:
        questions: columns method, budget, seed, and those of `evaluation.QUESTIONS`; of held-out examples the metrics
            nll and tokens.
        tasks: see `tasks_of`.

    Returns:
        Columns method, budget, outcome, low_questions, high_questions (95%).

    Raises:
        UserError: two runs were not asked the same questions.
    """
    key = ["task", "doc_id", "doc_hash"]
    heldout = {"name": HELDOUT, "metric": "nll", "shares": {HELDOUT: 1.0}}
    rows = []
    for (budget,), asked in questions.drop_nulls("budget").group_by("budget", maintain_order=True):
        for task in [heldout, *tasks]:
            of_task = asked.filter(pl.col("task").is_in(list(task["shares"])))
            measured = of_task.filter(metric=task["metric"])
            if RANDOM not in measured["method"]:  # a metric of all questions together, or no random selection
                continue
            values = measured.pivot("method", index=key, values="value", aggregate_function="mean").sort(key)
            if measured.height != values.height * measured.select("method", "seed").n_unique():
                raise UserError(
                    f"{budget}: the runs were not asked the same questions of {task['name']}; evaluate again"
                )
            weights = np.ones(values.height)
            if task is heldout:
                sizes = of_task.filter(metric="tokens").unique(key).sort(key)["value"].to_numpy()
            else:
                share = pl.col("task").replace_strict(task["shares"], return_dtype=pl.Float64) / pl.len().over("task")
                sizes = weights = values.select(share).to_series().to_numpy()
            finite = [name for name in values.columns[len(key) :] if values[name].is_finite().all()]
            others = [name for name in finite if name != RANDOM] if RANDOM in finite else []
            if others:
                differences = np.stack([(values[name] - values[RANDOM]).to_numpy() for name in others])  # (M, N)
                strata = values["task"].rank("dense").to_numpy()
                intervals = paired_ratios(weights * differences, sizes, strata, RESAMPLES, seed=0)
                rows += [
                    (name, budget, task["name"], *ends) for name, (_, *ends) in zip(others, intervals, strict=True)
                ]
    names = ["method", "budget", "outcome", "low_questions", "high_questions"]
    schema = {name: pl.Float64 if name.endswith("_questions") else pl.String for name in names}
    return pl.DataFrame(rows, schema=schema, orient="row")


def whole_of(methods: Methods) -> list[str]:
    """Return the labels of the methods that keep the whole pool, whatever the budget."""
    return [method["label"] for method in methods if method["whole"]]


def budgets_of(frame: pl.DataFrame) -> list[str]:
    """Return the budgets in a frame, ratios before tokens, the smallest first."""
    budgets = frame["budget"].drop_nulls().unique().to_list()
    return sorted(budgets, key=lambda budget: (budget.partition("-")[0], float(budget.partition("-")[2])))


def budget_text(budget: str) -> str:
    """Return a budget as one reads it: 10%, 20,000 tokens, 5% of the tokens."""
    kind, _, amount = budget.partition("-")
    number = float(amount)
    if kind == "ratio":
        return f"{100 * number:g}%"
    return f"{number:,.0f} tokens" if number >= 1 else f"{100 * number:g}% of the tokens"
