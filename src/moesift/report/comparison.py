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
from moesift.report.statistics import holm, paired_ratios, t_interval

BASE, RANDOM = "base", "random"
HELDOUT, TARGETS = "heldout", "targets"  # the loss on held-out examples like the pool, the mean over those of targets
OF_TARGET = f"{HELDOUT}:"  # before the name of a target: the loss on its held-out examples
BETTER, WORSE, NOT_SIGNIFICANT = "better", "worse", "not significant"
LEVEL = 0.05
RESAMPLES = 1000  # of the questions, for an interval over them
RUN = ["method", "budget", "seed"]
OUTCOME = ["outcome", "metric", "higher_is_better"]
COMPARED = ["method", "budget", "outcome"]
TYPES: dict[str, Any] = dict.fromkeys(["method", "budget", "outcome", "metric"], pl.String)
TYPES |= {"seed": pl.Int64, "seeds": pl.Int64, "higher_is_better": pl.Boolean}  # all else is a number

Rows = Sequence[Mapping[str, Any]]


def tasks_of(evaluations: Rows) -> list[dict[str, Any]]:
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
        metric = next(name for name in ("acc", "f1", *measured["metrics"]) if name in measured["metrics"])
        about = {key: measured[key] for key in ("questions", "of", "cut", "fewshot", "version", "hash", "shares")}
        direction = measured["higher_is_better"].get(metric)
        tasks.append({**setting, **about, "metric": metric, "higher_is_better": direction})
    return tasks


def losses_of(evaluations: Rows) -> list[dict[str, Any]]:
    """Return the held-out losses that runs were measured by, in the form of tasks.

    The first is what the comparison is about: the plain mean over the targets, or the only one; `heldout` without any.
    A run that was selected for one of the targets is measured on that one alone.

    Raises:
        UserError: the evaluations were made with different targets.
    """
    measured = [list(evaluation["targets"]) for evaluation in evaluations]
    targets = max(measured, key=len)
    if any(names != targets and names not in [[target] for target in targets] for names in measured):
        raise UserError("the evaluations were made with different targets, so they cannot be compared; evaluate again")
    names = [OF_TARGET + target for target in targets]
    shares = {name: {name: 1.0} for name in (*names, HELDOUT)}
    if len(names) > 1:
        shares = {TARGETS: dict.fromkeys(names, 1 / len(names)), **shares}
    return [{"name": name, "metric": "nll", "shares": of} for name, of in shares.items()]


def main_outcome(table: pl.DataFrame) -> str:
    """Return the outcome that the comparison is about, which is the first in each of its tables."""
    return table["outcome"][0]


def runs_of(selections: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """Return what each run kept, from selections (method, budget, seed, id) and the pool (id, corruption).

    Returns:
        Columns method, budget, seed, examples, ratio (share of the pool's examples; the queries are none of them),
        corrupted (share of the kept examples; null where the pool has no labels).
    """
    corrupted = pl.col("corruption") != CLEAN
    share = corrupted.mean() if pool.select(corrupted.any()).item() else pl.lit(None, pl.Float64)
    kept = selections.join(pool.select("id", "corruption"), on="id", how="left", maintain_order="left")
    runs = kept.group_by(RUN, maintain_order=True)
    return runs.agg(examples=pl.len().cast(pl.Int64), ratio=pl.count("corruption") / pool.height, corrupted=share)


def outcomes_of(evaluations: Rows, tasks: Rows, runs: pl.DataFrame) -> pl.DataFrame:
    """Return what was measured of each tuned target, and of the untuned one.

    Returns:
        Columns method, budget, ratio, seed (the last three null of the untuned target), outcome (a name of `losses_of`
        or a task), metric, higher_is_better, value (null where the tuning diverged: it is not finite) and stderr (over
        examples or questions; null where lm-eval has none).
    """
    losses, rows = losses_of(evaluations), []
    for one in evaluations:
        run = [one[name] for name in RUN]
        found = {HELDOUT: one["heldout"], **{OF_TARGET + name: loss for name, loss in one["targets"].items()}}
        for loss in losses:
            if not loss["shares"].keys() <= found.keys():
                continue
            nll = sum(share * found[name]["nll"] for name, share in loss["shares"].items())
            error = math.hypot(*(share * found[name]["stderr"] for name, share in loss["shares"].items()))
            rows.append((*run, loss["name"], "nll", False, nll, error))
        for task in tasks:
            metric, metrics = task["metric"], one["tasks"][task["name"]]["metrics"]
            value, error = metrics[metric], metrics.get(f"{metric}_stderr")
            rows.append((*run, task["name"], metric, task["higher_is_better"], value, error))
    frame = _frame(rows, [*RUN, *OUTCOME, "value", "stderr"])
    frame = frame.join(runs.select(*RUN, "ratio"), on=RUN, how="left", maintain_order="left")
    numbers = [pl.when(pl.col(name).is_finite()).then(name) for name in ("value", "stderr")]
    return frame.select("method", "budget", "ratio", "seed", *OUTCOME, *numbers)


def of_own_target(frame: pl.DataFrame, outcome: str, methods: Rows) -> pl.DataFrame:
    """Return a frame in which the selections that a method made for each target by itself are one method.

    Of each of them only what was measured on its own target is left.

    Args:
        frame: column method, and one that names what was measured.
        outcome: the name of that column.
        methods: what is said of each method: label, each (the common label, or None), targets.
    """
    each = {method["label"]: (method["each"], OF_TARGET + method["targets"][0]) for method in methods if method["each"]}
    names, own = pl.col("method"), pl.col(outcome)
    common = names.replace({label: name for label, (name, _) in each.items()})
    of_label = names.replace_strict({label: target for label, (_, target) in each.items()}, default=None)
    return frame.filter(~names.is_in(list(each)) | (own == of_label)).with_columns(common) if each else frame


def with_means(outcomes: pl.DataFrame, losses: Rows) -> pl.DataFrame:
    """Return the outcomes with the mean over the targets for runs that have the loss on each, but not the mean."""
    if losses[0]["name"] != TARGETS:
        return outcomes
    shares = losses[0]["shares"]
    without = outcomes.join(
        outcomes.filter(outcome=TARGETS), on=RUN, how="anti", nulls_equal=True, maintain_order="left"
    )
    runs = without.filter(pl.col("outcome").is_in(list(shares))).group_by(RUN, maintain_order=True)
    means = runs.agg(
        pl.col("ratio").mean(),
        *(pl.col(name).first() for name in OUTCOME[1:]),
        pl.when(pl.len() == len(shares)).then(pl.col("value").mean()).alias("value"),
        (pl.col("stderr").pow(2).sum().sqrt() / len(shares)).alias("stderr"),
    )
    means = means.with_columns(outcome=pl.lit(TARGETS)).select(outcomes.columns)
    return pl.concat([outcomes, means])


def missing_runs(runs: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return the selections without a held-out loss, as they were not evaluated, or diverged: method, budget, seeds."""
    measured = outcomes.filter(pl.col("outcome").str.starts_with(HELDOUT)).drop_nulls("value")
    missing = runs.join(measured, on=RUN, how="anti", maintain_order="left")
    return missing.group_by("method", "budget", maintain_order=True).agg(seeds="seed")


def over_seeds(outcomes: pl.DataFrame) -> pl.DataFrame:
    """Return the mean of each outcome over the seeds, the smallest budget first.

    With two seeds or more the error is that over seeds, and the interval Student's. With one it is the error over
    examples or questions that came with the measurement, which says nothing about another seed.

    Returns:
        Columns method, budget, outcome, metric, higher_is_better, ratio, seeds (that have a number), value, stderr, low
        and high (95% interval).
    """
    rows = []
    for run, group in outcomes.group_by("method", "budget", *OUTCOME, maintain_order=True):
        measured = group.drop_nulls("value")
        test: Any = t_interval(measured["value"].to_numpy()) if measured.height else [None] * 4
        mean, low, high, _ = test
        error: Any = measured["stderr"].first()
        if measured.height > 1:
            error = measured["value"].std() / measured.height**0.5
        elif error is not None:
            low, high = mean - NORMAL_95 * error, mean + NORMAL_95 * error
        rows.append((*run, group["ratio"].mean(), measured.height, mean, error, low, high))
    frame = _frame(rows, ["method", "budget", *OUTCOME, "ratio", "seeds", "value", "stderr", "low", "high"])
    return frame.sort(pl.col("budget").cast(pl.Enum(budgets_of(frame))), nulls_last=True, maintain_order=True)


def against_random(outcomes: pl.DataFrame, methods: Rows, seeds: int) -> pl.DataFrame:
    """Return each outcome's difference to random selection within the same budget, paired by seed.

    References, which are the untuned target and methods that keep the whole pool or no part of it, are compared within
    each budget, and not tested. There is no verdict where one of `seeds` is missing, and of one seed neither interval
    nor verdict.

    Returns:
        Columns method, budget, outcome, metric, higher_is_better, ratio, seeds (pairs), difference (method minus
        random), low, high (95% interval over seeds), p (t-test), p_holm (over methods and budgets of an outcome; the
        losses of single targets are corrected together) and verdict (better, worse or not significant, at LEVEL).
        Empty where nothing was selected at random.
    """
    random = outcomes.filter(method=RANDOM).select("budget", "seed", "outcome", random="value")
    references = {BASE: ["outcome"]} | {label: ["seed", "outcome"] for label in whole_of(methods)}
    rows = []
    for (method,), measured in outcomes.filter(pl.col("method") != RANDOM).group_by("method", maintain_order=True):
        on = references.get(method, ["budget", "seed", "outcome"])
        pairs = measured.select(*on, *OUTCOME[1:], "ratio", "value").join(random, on=on, maintain_order="left")
        for key, pair in pairs.group_by("budget", *OUTCOME, maintain_order=True):
            differences = (pair["value"] - pair["random"]).drop_nulls().to_numpy()
            test = t_interval(differences) if len(differences) else [None] * 4
            rows.append((method, *key, pair["ratio"].mean(), len(differences), *test))
    frame = _frame(rows, ["method", "budget", *OUTCOME, "ratio", "seeds", "difference", "low", "high", "p"])
    tested = (pl.col("seeds") == max(seeds, 2)) & ~pl.col("method").is_in(list(references))
    # Equal differences have no test, and nothing to reject; they count as comparisons.
    adjusted = pl.col("p").fill_null(1).map_batches(lambda p: pl.Series(holm(p.to_numpy())), pl.Float64)
    family = pl.col("outcome").str.replace(f"^{OF_TARGET}.*", OF_TARGET)
    adjusted = frame.filter(tested).select(*COMPARED, p_holm=adjusted.over(family))
    frame = frame.join(adjusted, on=COMPARED, how="left", maintain_order="left")
    is_better = (pl.col("difference") > 0) == pl.col("higher_is_better")
    # Where lm-eval does not say which way is better, there is no side.
    side = pl.when(is_better).then(pl.lit(BETTER)).when(is_better.not_()).then(pl.lit(WORSE))
    verdict = pl.when(pl.col("p_holm") > LEVEL).then(pl.lit(NOT_SIGNIFICANT))
    return frame.with_columns(verdict=verdict.when(pl.col("p_holm") <= LEVEL).then(side))


def by_question(questions: pl.DataFrame, tasks: Rows) -> pl.DataFrame:
    """Return the 95% interval of each difference to random over questions or held-out examples, paired by question.

    It says what other questions of the same tasks could give, and nothing about another seed; of several seeds it is
    that of the mean difference. Questions (columns method, budget, seed, task, doc_id, doc_hash, metric, value; of
    held-out examples the metrics nll and tokens) are resampled within each task. A run that diverged has none.

    Args:
        tasks: of `losses_of` and `tasks_of`: each the mean over the tasks of its shares.

    Returns:
        Columns method, budget, outcome, low_questions, high_questions.

    Raises:
        UserError: two runs were not asked the same questions.
    """
    key = ["task", "doc_id", "doc_hash"]
    rows = []
    budgets = questions.drop_nulls("budget").group_by("budget", maintain_order=True)
    for ((budget,), asked), task in itertools.product(budgets, tasks):
        of_task = asked.filter(pl.col("task").is_in(list(task["shares"])))
        measured = of_task.filter(metric=task["metric"])
        if RANDOM not in measured["method"]:  # a metric of all questions together, or no random selection
            continue
        values = measured.pivot("method", index=key, values="value", aggregate_function="mean").sort(key)
        if measured.height != values.height * measured.select("method", "seed").n_unique():
            raise UserError(f"{budget}: the runs were not asked the same questions of {task['name']}; evaluate again")
        tokens = of_task.filter(metric="tokens").unique(key).select(*key, size="value")  # of held-out examples
        sizes = values.join(tokens, on=key, how="left", maintain_order="left")["size"].fill_null(1).to_numpy()
        differences = values.select(pl.exclude(*key, RANDOM) - pl.col(RANDOM))
        differences = differences.select(each for each in differences if each.is_finite().all())
        if differences.width:
            paired = np.stack(differences.get_columns())  # (M, N)
            strata = values["task"].rle_id().to_numpy()
            shares = np.array([task["shares"][name] for name in values["task"].unique(maintain_order=True)])
            intervals = paired_ratios(paired, sizes, strata, shares, RESAMPLES, seed=0)
            rows += [
                (name, budget, task["name"], *ends) for name, ends in zip(differences.columns, intervals, strict=True)
            ]
    return _frame(rows, [*COMPARED, "low_questions", "high_questions"])


def overview(summary: pl.DataFrame, differences: pl.DataFrame, runs: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each method and budget: the means over seeds, without columns of which nothing is known.

    Of the outcome that the comparison is about there are its error, the difference to random and the verdict;
    `corrupted` is a share of what is kept.
    """
    run, main = ["method", "budget"], main_outcome(summary)
    table = summary.filter(outcome=main).select(*run, pl.col("value").alias(main), "stderr")
    compared = differences.filter(outcome=main).select(*run, "difference", "verdict")
    others = summary.filter(pl.col("outcome") != main).pivot("outcome", index=run, values="value")
    for part in (compared, runs.group_by(run).agg(pl.mean("corrupted")), others):
        table = table.join(part, on=run, how="left", nulls_equal=True, maintain_order="left")
    return table.select(column for column in table if column.null_count() < table.height)


def whole_of(methods: Rows) -> list[str]:
    """Return the labels of the methods that keep the whole pool, or no part of it, whatever the budget."""
    return [method["each"] or method["label"] for method in methods if method["keeps"] != "budget"]


def budgets_of(frame: pl.DataFrame) -> list[str]:
    """Return the budgets in a frame, ratios before tokens, the smallest first, and last the queries."""
    parts = (budget.partition("-") for budget in frame["budget"].drop_nulls().unique())
    return ["".join(part) for part in sorted(parts, key=lambda part: (not part[2], part[0], float(part[2] or 0)))]


def outcome_text(outcome: str) -> str:
    """Return a held-out loss as one reads it."""
    if outcome == TARGETS:
        return "mean held-out loss of the targets"
    return "held-out loss" if outcome == HELDOUT else f"held-out loss of {outcome.removeprefix(OF_TARGET)}"


def budget_text(budget: str) -> str:
    """Return a budget as one reads it: 10%, 20,000 tokens, 5% of the tokens."""
    kind, _, amount = budget.partition("-")
    if not amount:  # the queries
        return budget
    if kind == "tokens" and float(amount) >= 1:
        return f"{float(amount):,.0f} tokens"
    return f"{100 * float(amount):g}%" + (" of the tokens" if kind == "tokens" else "")


def _frame(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={name: TYPES.get(name, pl.Float64) for name in names}, orient="row")
