"""The answer in a few sentences, each around a number."""

from collections.abc import Sequence

import polars as pl

from moesift.report.comparison import (
    BASE,
    BETTER,
    NOT_SIGNIFICANT,
    OF_TARGET,
    RANDOM,
    WORSE,
    budget_text,
    budgets_of,
    main_outcome,
    outcome_text,
)

WHOLE = "ratio-1"  # the budget of what keeps the whole pool
ONE_SEED = "One seed: the intervals are over held-out examples only, and say nothing about another seed."
NO_RANDOM = "Nothing was selected at random, so there is nothing to compare with."


def headline(
    summary: pl.DataFrame, differences: pl.DataFrame, references: Sequence[str], costs: pl.DataFrame
) -> list[str]:
    """Return what the main outcome says: how many selections differ from random, and the best of two budgets.

    References are what was not selected: the untuned target, the whole pool and the queries.
    """
    selected = differences.filter(~pl.col("method").is_in(references)).drop_nulls("difference").sort("difference")
    main = main_outcome(summary)
    name, losses = outcome_text(main), selected.filter(outcome=main)
    if losses.is_empty():
        return [NO_RANDOM]
    budgets = budgets_of(losses)
    targets = selected.filter(pl.col("outcome").str.starts_with(OF_TARGET), pl.col("outcome") != main)
    counts = [f"{name[0].upper()}{name[1:]} against random: {_counted(losses)}."]
    counts += [f"Single targets: {_counted(targets)}."] if targets.height else []
    randoms = dict(summary.filter(outcome=main, method=RANDOM)["budget", "value"].iter_rows())
    sentences, named = [], []
    for budget in dict.fromkeys([budgets[0], budgets[-1]]):
        best = losses.filter(budget=budget).row(0, named=True)
        method, difference, random, at = best["method"], best["difference"], randoms[budget], budget_text(budget)
        named.append((method, budget))
        over = "" if best["low"] is not None else "_questions"
        low, high = best[f"low{over}"], best[f"high{over}"]
        shown = f"{difference:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")
        shown += {None: "", NOT_SIGNIFICANT: ", not significant"}.get(best["verdict"], ", significant")
        single = targets.filter(budget=budget, method=method)["difference"]
        shown += f"; below random on {(single < 0).sum()} of {len(single)} targets" if len(single) else ""
        sentences.append(
            f"At {at}, no selection is below random, {random:.3f}; the nearest is {method}, {shown}."
            if difference >= 0
            else f"At {at}, {method} has the lowest {name}, {random + difference:.3f}; random: {random:.3f}; "
            f"difference {shown}."
        )
    sentences += _whole(summary.filter(outcome=main)) + _cost(costs, *named[0])
    return [*sentences, ONE_SEED] if losses["seeds"].max() == 1 else [*counts, *sentences]


def _whole(losses: pl.DataFrame) -> list[str]:
    """Return what the whole pool reaches, where a run was tuned on it, and the target as it was."""
    whole, base = (
        losses.filter(one)["value"].to_list() for one in (pl.col("budget") == WHOLE, pl.col("method") == BASE)
    )
    known = whole and base and whole[0] is not None and base[0] is not None
    return [f"Tuned on the whole pool: {whole[0]:.3f}; not tuned: {base[0]:.3f}."] if known else []


def _cost(costs: pl.DataFrame, method: str, budget: str) -> list[str]:
    """Return the seconds of a selection and its training beside those of training on the whole pool."""
    part = costs.filter(method=method, budget=budget).select(pl.mean("select", "train"), pl.max("adapters")).row(0)
    (whole,) = costs.filter(budget=WHOLE).select(pl.mean("train")).row(0)
    if None in (*part, whole):
        return []
    select, train, adapters = part
    parts = "that" if adapters == 1 else f"one of its {adapters} parts"
    return [
        f"To select by {method}: {select:,.0f} s; to train on {parts}: {train:,.0f} s; on the pool: {whole:,.0f} s."
    ]


def _counted(differences: pl.DataFrame) -> str:
    """Return how many verdicts there are of each kind; those of one target are of selections, of several of pairs."""
    verdicts, single = differences["verdict"].to_list(), differences["outcome"].n_unique() == 1
    noun = "selections" if single else "comparisons"
    better, worse = verdicts.count(BETTER), verdicts.count(WORSE)
    return f"{better} of {len(verdicts)} {noun} significantly better, {worse} significantly worse"
