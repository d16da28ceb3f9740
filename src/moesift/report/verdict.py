"""Whether a selection is better than random, in words, and only as far as the intervals go."""

from typing import Any

import polars as pl

from moesift.report.metrics import HELDOUT
from moesift.study.intervals import holm

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
LEVEL = 0.05


def judged(differences: pl.DataFrame) -> pl.DataFrame:
    """Add `verdict` to the differences to random: BETTER, WORSE or UNDECIDED, and null where there is one seed.

    A difference counts where its paired t-test over seeds does at LEVEL after Holm's correction, for which all methods
    and ratios of an outcome are one family: of many intervals at 95% some leave out 0 by chance.

    Args:
        differences: the frame of `metrics.against_random`.
    """
    # Where all seeds differ by the same there is no test, and so nothing to reject.
    adjusted = pl.col("p").fill_null(1).map_batches(lambda p: pl.Series(holm(p.to_numpy())), pl.Float64).over("outcome")
    is_better = (pl.col("difference") < 0) == (pl.col("outcome") == HELDOUT)  # a lower loss, or a higher accuracy
    told = (
        pl.when(adjusted > LEVEL).then(pl.lit(UNDECIDED)).when(is_better).then(pl.lit(BETTER)).otherwise(pl.lit(WORSE))
    )
    return differences.with_columns(verdict=pl.when(pl.col("seeds") > 1).then(told))


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
    rows = sorted(rows, key=lambda row: row["difference"])
    seeds = rows[0]["seeds"]
    if seeds > 1:
        over = f"over {seeds} paired seeds"
        below = [
            f"{row['method']} ({row['difference']:+.3f}, 95% interval {row['low']:+.3f} to {row['high']:+.3f})"
            for row in rows
            if row["verdict"] == BETTER
        ]
        above = [f"{row['method']} ({row['difference']:+.3f})" for row in rows if row["verdict"] == WORSE]
    else:
        over = "by 95% intervals over the held-out examples alone"
        below = [f"{row['method']} ({row['difference']:+.3f})" for row in rows if row["high_questions"] < 0]
        above = [f"{row['method']} ({row['difference']:+.3f})" for row in rows if row["low_questions"] > 0]
    told = [
        f"{_listed(side)} {'is' if len(side) == 1 else 'are'} {where} random"
        for side, where in ((below, "below"), (above, "above"))
        if side
    ]
    untold = len(rows) - len(below) - len(above)
    if untold:
        others = "one other" if untold == 1 else f"{untold} others"
        told.append(f"{others} cannot be told from random" if told else "no method can be told from random")
    return [f"{over}, {', '.join(told)}"]


def _percent(ratio: float) -> str:
    return f"{100 * ratio:g}%"


def _listed(names: list[str]) -> str:
    """Return names as a sentence lists them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
