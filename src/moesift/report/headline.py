"""The answer in at most three sentences, each around a number."""

from collections.abc import Sequence

import polars as pl

from moesift.report.comparison import BETTER, HELDOUT, NOT_SIGNIFICANT, RANDOM, WORSE, budget_text, budgets_of

ONE_SEED = "One seed: the intervals are over held-out examples only, and say nothing about another seed."
NO_RANDOM = "Nothing was selected at random, so there is nothing to compare with."


def headline(summary: pl.DataFrame, differences: pl.DataFrame, references: Sequence[str]) -> list[str]:
    """Return what the held-out loss says: how many selections differ from random, and the best of two budgets.

    References are what was not selected: the untuned target and the whole pool.
    """
    losses = differences.filter(pl.col("outcome") == HELDOUT, ~pl.col("method").is_in(references))
    losses = losses.drop_nulls("difference").sort("difference")
    if losses.is_empty():
        return [NO_RANDOM]
    verdicts, budgets = losses["verdict"].to_list(), budgets_of(losses)
    counts = (
        f"Held-out loss against random: {verdicts.count(BETTER)} of {len(verdicts)} selections significantly better, "
        f"{verdicts.count(WORSE)} significantly worse."
    )
    randoms = dict(summary.filter(outcome=HELDOUT, method=RANDOM)["budget", "value"].iter_rows())
    sentences = []
    for budget in dict.fromkeys([budgets[0], budgets[-1]]):
        best = losses.filter(budget=budget).row(0, named=True)
        method, difference, random, at = best["method"], best["difference"], randoms[budget], budget_text(budget)
        over = "" if best["low"] is not None else "_questions"
        low, high = best[f"low{over}"], best[f"high{over}"]
        shown = f"{difference:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")
        shown += {None: "", NOT_SIGNIFICANT: ", not significant"}.get(best["verdict"], ", significant")
        sentences.append(
            f"At {at}, no selection is below random, {random:.3f}; the nearest is {method}, {shown}."
            if difference >= 0
            else f"At {at}, {method} has the lowest held-out loss, {random + difference:.3f}; random: {random:.3f}; "
            f"difference {shown}."
        )
    return [*sentences, ONE_SEED] if losses["seeds"].max() == 1 else [counts, *sentences]
