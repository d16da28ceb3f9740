"""Whether a selection is better than random, in words, and only as far as the intervals go."""

from typing import Any

import polars as pl

from moesift.report.metrics import HELDOUT

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"


def judged(differences: pl.DataFrame) -> pl.DataFrame:
    """Add `verdict` to the differences to random: BETTER or WORSE where the interval over seeds leaves out 0.

    It is UNDECIDED where the interval holds 0, and null where there is none: one seed says nothing about another.

    Args:
        differences: the frame of `metrics.against_random`.
    """
    low, high = pl.col("low"), pl.col("high")
    lower = pl.when(high < 0).then(pl.lit(True)).when(low > 0).then(pl.lit(False))
    is_better = lower == (pl.col("outcome") == HELDOUT)  # a lower loss is better, and a higher accuracy
    return differences.with_columns(
        verdict=pl.when(low.is_not_null()).then(
            pl.when(is_better).then(pl.lit(BETTER)).when(~is_better).then(pl.lit(WORSE)).otherwise(pl.lit(UNDECIDED))
        )
    )


def headline(summary: pl.DataFrame, differences: pl.DataFrame) -> list[str]:
    """Return sentences: whether any selection's held-out loss is below random's, and then what each ratio gave.

    Args:
        summary: the frame of `metrics.over_seeds`.
        differences: the frame of `judged`, with the intervals of `metrics.against_random_by_question`.
    """
    losses = summary.filter(outcome=HELDOUT)
    tuned = losses.drop_nulls("ratio").sort("ratio")
    compared = differences.filter(outcome=HELDOUT)
    sentences = [_answer(compared)]
    for (ratio,), at_ratio in tuned.group_by("ratio", maintain_order=True):
        best = at_ratio.filter(pl.col("value") == pl.col("value").min())
        lowest = (
            f"Keeping {_percent(ratio)} of the pool, {_listed(best['method'].to_list())} "
            f"{'has' if best.height == 1 else 'share'} the lowest held-out loss ({best['value'][0]:.3f} ± "
            f"{best['stderr'][0]:.3f} nats per token)"
        )
        sentences.append("; ".join([lowest, *_beside_random(compared.filter(ratio=ratio).to_dicts())]) + ".")
    sentences += [f"The untuned target has {loss:.3f}." for loss in losses.filter(pl.col("ratio").is_null())["value"]]
    return sentences


def _answer(compared: pl.DataFrame) -> str:
    """Say whether any selection is shown to be better than random."""
    if compared.is_empty():
        return "Nothing was selected at random, so nothing here is shown to be better than that."
    if compared["verdict"].is_null().all():
        return "Not shown: whether a selection is better than random. One seed says nothing about another."
    ratios = compared["ratio"].unique().sort()
    won = compared.filter(verdict=BETTER)["ratio"].unique().sort()
    if won.is_empty():
        return "No selection is shown to be better than random."
    if len(won) == len(ratios):
        return "Yes: a selection is better than random" + (" at every ratio." if len(ratios) > 1 else ".")
    return f"A selection is better than random keeping {_listed([_percent(ratio) for ratio in won])} of the pool only."


def _beside_random(rows: list[dict[str, Any]]) -> list[str]:
    """Say which methods' losses at one ratio are below random's and which above, and how sure that is."""
    if not rows:
        return []
    seeds = rows[0]["seeds"]
    ends, over = (
        (("low", "high"), f"{seeds} paired seeds")
        if seeds > 1
        else (("low_questions", "high_questions"), "the held-out examples alone")
    )
    intervals = [(row, *(row[end] for end in ends)) for row in sorted(rows, key=lambda row: row["difference"])]
    # The interval of what is a claim: one over seeds.
    below = [
        f"{row['method']} ({row['difference']:+.3f}" + (f", interval {low:+.3f} to {high:+.3f})" if seeds > 1 else ")")
        for row, low, high in intervals
        if high < 0
    ]
    above = [f"{row['method']} ({row['difference']:+.3f})" for row, low, _ in intervals if low > 0]
    told = [
        f"{_listed(side)} {'is' if len(side) == 1 else 'are'} {where} random"
        for side, where in ((below, "below"), (above, "above"))
        if side
    ]
    untold = len(rows) - len(below) - len(above)
    if untold:
        others = "one other" if untold == 1 else f"{untold} others"
        told.append(f"{others} cannot be told from random" if told else "no method can be told from random")
    return [f"by 95% intervals over {over}, {', '.join(told)}"]


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g}%"


def _listed(names: list[str]) -> str:
    """Return names as a sentence lists them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
