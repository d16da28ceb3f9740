"""The answer in at most three sentences, each around a number."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from moesift.report.comparison import BETTER, HELDOUT, NOT_SIGNIFICANT, RANDOM, WORSE, budget_text, budgets_of

ONE_SEED = "One seed: the intervals are over held-out examples only, and say nothing about another seed."
NO_RANDOM = "Nothing was selected at random, so there is nothing to compare with."


def headline(summary: pl.DataFrame, differences: pl.DataFrame, references: list[str]) -> list[str]:
    """Return what the held-out loss says of the selections: how many differ from random, and the best of two budgets.

    Args:
        summary: the frame of `comparison.over_seeds`.
        differences: the frame of `comparison.against_random`, with the intervals of `comparison.by_question`.
        references: what was not selected: the untuned target and the whole pool.
    """
    losses = differences.filter(pl.col("outcome") == HELDOUT, ~pl.col("method").is_in(references)).drop_nulls(
        "difference"
    )
    if losses.is_empty():
        return [NO_RANDOM]
    verdicts = losses["verdict"].to_list()
    better, worse = verdicts.count(BETTER), verdicts.count(WORSE)
    answer = (
        f"Held-out loss against random: {better} of {losses.height} selections significantly better, {worse} "
        "significantly worse."
    )
    budgets = budgets_of(losses)
    shown = budgets[:1] if len(budgets) == 1 else [budgets[0], budgets[-1]]
    random = dict(summary.filter(outcome=HELDOUT, method=RANDOM)["budget", "value"].iter_rows())
    best = [losses.filter(budget=budget).sort("difference").row(0, named=True) for budget in shown]
    sentences = [_sentence(row, random[row["budget"]]) for row in best]
    return [*sentences, ONE_SEED] if losses["seeds"].max() == 1 else [answer, *sentences]


def _sentence(best: Mapping[str, Any], random: float) -> str:
    low, high = (best[end] if best["low"] is not None else best[f"{end}_questions"] for end in ("low", "high"))
    interval = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
    difference = f"{best['difference']:+.3f}{interval}"
    verdict = {None: "", NOT_SIGNIFICANT: " is not significant"}.get(best["verdict"], " is significant")
    budget = budget_text(best["budget"])
    if best["difference"] >= 0:
        return (
            f"At {budget}, no selection is below random ({random:.3f}); the nearest is {best['method']}, {difference}."
        )
    value = random + best["difference"]
    return (
        f"At {budget}, {best['method']} has the lowest held-out loss, {value:.3f}; random: {random:.3f}; the difference "
        f"{difference}{verdict}."
    )
