"""Examples of the pool as readable text: the best and the worst of each method's ranking."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from moesift.report.comparison import RANDOM

SHOWN = 5  # from each end of a ranking
CHARACTERS = 400  # from each end of a conversation: a question often stands at the end of its text


def of_rankings(
    scores: pl.DataFrame, selections: pl.DataFrame, pool: pl.DataFrame, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the examples that each method ranks highest and lowest, the most extreme first; not those of `random`.

    Args:
        scores: columns method, id, score, of one seed; an example without a score has no place.
        selections: columns method, id, of the same seed: what was kept within any budget.
        pool: columns id, source, corruption, messages.
        methods: which, in order.

    Returns:
        A dictionary a method: `method`, and `best` and `worst`, lists of examples with id, score, source, corruption,
        kept and text (the turns with their roles; of a long text both ends).
    """
    turns = pl.concat_str(pl.element().struct.field("role"), pl.lit(":\n"), pl.element().struct.field("content"))
    text = pl.col("messages").list.eval(turns).list.join("\n\n")
    ends = pl.concat_str(text.str.head(CHARACTERS), pl.lit(" […] "), text.str.tail(CHARACTERS))
    text = pl.when(text.str.len_chars() > 2 * CHARACTERS).then(ends).otherwise(text)
    kept = selections.select("method", "id", kept=True).unique()

    def shown(ranked: pl.DataFrame) -> list[dict[str, Any]]:
        found = ranked.join(pool, on="id", maintain_order="left")
        found = found.join(kept, on=["method", "id"], how="left", maintain_order="left")
        return found.select("id", "score", "source", "corruption", "kept", text=text).to_dicts()

    rankings = []
    for method in methods:
        ranked = scores.filter(method=method).drop_nulls("score").sort("score", "id", descending=[True, False])
        if method != RANDOM and ranked.height:
            best, worst = ranked.head(SHOWN), ranked.tail(SHOWN).reverse()
            rankings.append({"method": method, "best": shown(best), "worst": shown(worst)})
    return rankings
