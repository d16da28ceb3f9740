"""The table of scores that every method writes."""

from collections.abc import Mapping

import numpy as np
import polars as pl

NO_RESPONSE = "no response token within data.max_length"
NOT_FINITE = "the method gives no finite number"


def score_table(examples: pl.DataFrame, values: np.ndarray, refused: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Return the scores of N examples, best first: equal ones by id, so that the pool's order never matters.

    An example gets no score, but a reason, when it has no tokens, no counted token, when the method refuses it, or when
    the method's value is not a finite number; these come last.

    Args:
        examples: columns id, source, n_tokens and refused (why it has no tokens).
        values: the method's values, (N,).
        refused: which examples the method refuses, (N,) bool, by its reason.

    Returns:
        Columns id, source, score (null where there is none), n_tokens (of the response) and reason (why there is no
        score).
    """
    without_response = (examples["n_tokens"] == 0).to_numpy()
    reasons = {NO_RESPONSE: without_response, **refused, NOT_FINITE: ~np.isfinite(values)}
    found = (pl.when(pl.Series(which)).then(pl.lit(why)) for why, which in reasons.items())
    reason = examples.select(pl.coalesce("refused", *found)).to_series()
    scored = examples.select(
        "id",
        "source",
        score=pl.when(reason.is_null()).then(pl.Series(values, dtype=pl.Float64)),
        n_tokens="n_tokens",
        reason=reason,
    )
    return scored.sort("score", "id", descending=[True, False], nulls_last=True)
