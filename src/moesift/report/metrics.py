"""The numbers of the comparison: what a score sees of the corruptions, and what a selection is worth to the target."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.special import stdtr, stdtrit

from moesift.data.corruption import CLEAN
from moesift.errors import UserError
from moesift.study.intervals import paired_ratios

ALL_KINDS = "all kinds"
HELDOUT = "heldout"
RANDOM = "random"
RESAMPLES = 1000  # of the questions, for an interval over them
NORMAL_95 = 1.959964  # two-sided 95% quantile of the standard normal distribution


class Auroc(NamedTuple):
    """An area under the ROC curve and half the width of its 95% interval, None where that cannot be estimated."""

    value: float
    half: float | None


def auroc(clean: np.ndarray, corrupted: np.ndarray) -> Auroc | None:
    """Return the chance that a clean example scores higher than a corrupted one; ties count half, 0.5 is no signal.

    The interval follows DeLong, DeLong and Clarke-Pearson (1988): the placement of an example is the share of the other
    class that it stands on the right side of; the area is their mean, and its variance is the sum of the variances of
    the two classes' mean placements. It needs two examples a class.

    Args:
        clean: scores, (m,).
        corrupted: scores, (n,).

    Returns:
        None where a class is empty.
    """
    if not len(clean) or not len(corrupted):
        return None
    above = _share_below(clean, corrupted)  # (m,)
    below = 1 - _share_below(corrupted, clean)  # (n,)
    area = float(above.mean())
    if min(len(clean), len(corrupted)) < 2:
        return Auroc(area, None)
    error = float(np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)))
    return Auroc(area, NORMAL_95 * error)


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each score the share of the others below it, those equal to it counted half."""
    ordered = np.sort(others)
    return (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(ordered))


def discrimination(scores: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """Return how well each score tells clean examples from each kind of corruption, and from all kinds at once.

    Args:
        scores: columns method, seed, id, score; an example without a score takes no part.
        pool: columns id, corruption.

    Returns:
        Columns method, seed, kind, auroc, half (of the width of its 95% interval), clean and corrupted (numbers of
        examples).
    """
    labelled = scores.drop_nulls("score").join(pool.select("id", "corruption"), on="id")
    kinds = pool.filter(pl.col("corruption") != CLEAN)["corruption"].unique().sort().to_list()
    rows = []
    for (method, seed), group in labelled.group_by("method", "seed", maintain_order=True):
        clean = group.filter(pl.col("corruption") == CLEAN)["score"].to_numpy()
        for kind in [*kinds, ALL_KINDS]:
            of_kind = pl.col("corruption") != CLEAN if kind == ALL_KINDS else pl.col("corruption") == kind
            corrupted = group.filter(of_kind)["score"].to_numpy()
            area = auroc(clean, corrupted) or (None, None)
            rows.append((method, seed, kind, *area, len(clean), len(corrupted)))
    schema = {
        "method": pl.String,
        "seed": pl.Int64,
        "kind": pl.String,
        "auroc": pl.Float64,
        "half": pl.Float64,
        "clean": pl.Int64,
        "corrupted": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def discrimination_over_seeds(areas: pl.DataFrame) -> pl.DataFrame:
    """Return the mean of `discrimination` over seeds: columns method, kind, auroc, half, lowest and highest seed.

    The half width is the mean of the seeds', no less: each seed scores the same examples, so that more seeds do not
    make the sample of examples larger.
    """
    return areas.group_by("method", "kind", maintain_order=True).agg(
        pl.col("auroc").mean(),
        pl.col("half").mean(),
        pl.col("auroc").min().alias("lowest"),
        pl.col("auroc").max().alias("highest"),
    )


def kept_corruption(selections: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """Return the share of corrupted examples among those that each method keeps at each ratio.

    Args:
        selections: columns method, ratio, seed, id: the examples that were kept.
        pool: columns id, corruption.

    Returns:
        Columns method, ratio, seed, kept (examples) and corrupted (share of them).
    """
    corrupted = pool.select("id", corrupted=pl.col("corruption") != CLEAN)
    return (
        selections.join(corrupted, on="id", maintain_order="left")
        .group_by("method", "ratio", "seed", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("kept"), pl.col("corrupted").mean())
    )


def main_metric(metrics: Mapping[str, float]) -> str:
    """Return the metric of a task that is compared: `acc`, else `f1`, else the first that lm-eval gives."""
    return next((name for name in ("acc", "f1") if name in metrics), next(iter(metrics)))


def outcomes(evaluations: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> pl.DataFrame:
    """Return what was measured of each tuned target, one row a number.

    Args:
        evaluations: what `evaluate` wrote.
        tasks: names of the tasks and groups to take.

    Returns:
        Columns method, ratio, seed (null for the untuned target), outcome (`heldout` in nats per token, or a task),
        value and stderr (over examples or questions; null where lm-eval gives none).

    Raises:
        UserError: a held-out loss is not a finite number.
    """
    rows = []
    for evaluation in evaluations:
        run = (evaluation["method"], evaluation["ratio"], evaluation["seed"])
        heldout = evaluation["heldout"]
        if not np.isfinite(heldout["nll_per_token"]):
            raise UserError(f"the held-out loss of {run} is {heldout['nll_per_token']}: its tuning diverged")
        rows.append((*run, HELDOUT, heldout["nll_per_token"], heldout["stderr"]))
        for task in tasks:
            metrics = evaluation["tasks"][task]["metrics"]
            metric = main_metric(metrics)
            rows.append((*run, task, metrics[metric], metrics.get(f"{metric}_stderr")))
    schema = {
        "method": pl.String,
        "ratio": pl.Float64,
        "seed": pl.Int64,
        "outcome": pl.String,
        "value": pl.Float64,
        "stderr": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def over_seeds(measured: pl.DataFrame) -> pl.DataFrame:
    """Return the mean of each outcome over the seeds with its standard error.

    With two seeds or more the error is that over seeds, s / sqrt(n), and the interval is Student's; with one it is the
    error over examples or questions that came with the measurement, and says nothing about another seed.

    Args:
        measured: the frame of `outcomes`.

    Returns:
        Columns method, ratio, outcome, value, stderr, seeds (their number), low and high (95% interval; null where
        there is no error).
    """
    several = pl.len() > 1
    means = measured.group_by("method", "ratio", "outcome", maintain_order=True).agg(
        pl.col("value").mean(),
        pl.when(several)
        .then(pl.col("value").std() / pl.len().sqrt())
        .otherwise(pl.col("stderr").first())
        .alias("stderr"),
        pl.len().cast(pl.Int64).alias("seeds"),
    )
    half = means["stderr"] * _quantile(means["seeds"])
    return means.with_columns(low=means["value"] - half, high=means["value"] + half)


def _quantile(seeds: pl.Series) -> pl.Series:
    """Return the two-sided 95% quantile for a mean over seeds: Student's, or for one seed the normal distribution's."""
    degrees = np.maximum(seeds.to_numpy() - 1, 1)
    return pl.Series(np.where(seeds.to_numpy() > 1, stdtrit(degrees, 0.975), NORMAL_95), dtype=pl.Float64)


def against_random(measured: pl.DataFrame) -> pl.DataFrame:
    """Return each outcome's difference to random selection at the same ratio, paired by seed.

    The interval is Student's for the mean of the paired differences, mean -+ t(n - 1) s / sqrt(n), and p is that of the
    two-sided t-test of no difference. One pair has neither.

    Args:
        measured: the frame of `outcomes`.

    Returns:
        Columns method, ratio, outcome, difference (method minus random), low, high (95% interval over seeds), p (all
        three null with one seed, p also where all seeds differ by the same), seeds; empty where nothing was selected at
        random.
    """
    random = measured.filter(pl.col("method") == RANDOM).select("ratio", "seed", "outcome", random="value")
    differences = (
        measured.filter(pl.col("method") != RANDOM)
        .join(random, on=["ratio", "seed", "outcome"], maintain_order="left")
        .group_by("method", "ratio", "outcome", maintain_order=True)
        .agg(
            (pl.col("value") - pl.col("random")).mean().alias("difference"),
            (pl.col("value") - pl.col("random")).std().alias("deviation"),
            pl.len().cast(pl.Int64).alias("seeds"),
        )
    )
    # At one seed `deviation` is null, and so is all that is made of it.
    error = differences["deviation"] / differences["seeds"].sqrt()
    half = _quantile(differences["seeds"]) * error
    t = (differences["difference"].abs() / error).to_numpy()
    p = np.where(np.isfinite(t), 2 * stdtr(np.maximum(differences["seeds"] - 1, 1), -t), np.nan)
    return differences.select(
        "method",
        "ratio",
        "outcome",
        "difference",
        (differences["difference"] - half).alias("low"),
        (differences["difference"] + half).alias("high"),
        pl.Series(p, dtype=pl.Float64).fill_nan(None).alias("p"),
        "seeds",
    )


def against_random_by_question(
    questions: pl.DataFrame, outcomes: Mapping[str, tuple[str, Mapping[str, float]]]
) -> pl.DataFrame:
    """Return the interval of each outcome's difference to random selection over the questions, paired by question.

    It says what other questions of the same tasks could give, and nothing of another seed; over several seeds it is
    that of the mean difference. The questions are resampled within each task.

    Args:
        questions: columns method, ratio, seed, and those of `evaluation.QUESTIONS`, of all evaluations; of held-out
            examples the metrics nats and tokens.
        outcomes: for each name of a task or group the metric that is compared, and the share of each of its tasks.

    Returns:
        Columns method, ratio, outcome, low_questions, high_questions (95%); empty where nothing was selected at random.

    Raises:
        UserError: two evaluations were not asked the same questions.
    """
    key = ["task", "doc_id", "doc_hash"]
    rows = []
    for (ratio,), found in questions.drop_nulls("ratio").group_by("ratio", maintain_order=True):
        methods = [method for method in found["method"].unique(maintain_order=True) if method != RANDOM]
        if not methods or RANDOM not in found["method"]:
            continue
        for outcome, (metric, shares) in {HELDOUT: ("nats", {HELDOUT: 1.0}), **outcomes}.items():
            of_outcome = found.filter(pl.col("task").is_in(list(shares)))
            measured = of_outcome.filter(metric=metric)
            if not measured.height:  # a metric of all questions together
                continue
            # One row a question, one column a method: the mean over the seeds.
            values = measured.pivot("method", index=key, values="value", aggregate_function="mean").sort(key)
            if measured.height != values.height * measured.select("method", "seed").n_unique():
                raise UserError(f"the evaluations at ratio {ratio:g} were not asked the same questions of {outcome}")
            if outcome == HELDOUT:
                tokens = of_outcome.filter(metric="tokens").unique(key).sort(key)
                sizes, weights = tokens["value"].to_numpy(), np.ones(values.height)
            else:
                each = values.with_columns(share=pl.col("task").replace_strict(shares, return_dtype=pl.Float64))
                sizes = weights = each.select(pl.col("share") / pl.len().over("task")).to_series().to_numpy()
            differences = np.stack([(values[method] - values[RANDOM]).to_numpy() for method in methods])  # (M, N)
            strata = values["task"].rank("dense").to_numpy()
            intervals = paired_ratios(weights * differences, sizes, strata, RESAMPLES, seed=0)
            rows += [
                (method, ratio, outcome, each.low, each.high) for method, each in zip(methods, intervals, strict=True)
            ]
    schema = {
        "method": pl.String,
        "ratio": pl.Float64,
        "outcome": pl.String,
        "low_questions": pl.Float64,
        "high_questions": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
