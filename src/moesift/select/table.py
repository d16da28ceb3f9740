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
    reason = why_not(examples, refused, pl.Series(~np.isfinite(values)))
    scored = examples.select(
        "id",
        "source",
        score=pl.when(reason.is_null()).then(pl.Series(values, dtype=pl.Float64)),
        n_tokens="n_tokens",
        reason=reason,
    )
    return scored.sort("score", "id", descending=[True, False], nulls_last=True)


def why_not(examples: pl.DataFrame, refused: Mapping[str, np.ndarray], without_number: pl.Series) -> pl.Series:
    """Return why each of N examples has no score; null for one that has.

    Args:
        examples: columns n_tokens and refused (why it has no tokens).
        refused: which examples the method refuses, (N,) bool, by its reason.
        without_number: of which examples the method gives no finite number, (N,) bool.
    """
    found = {**{why: pl.Series(which) for why, which in refused.items()}, NOT_FINITE: without_number}
    reasons = (pl.when(which).then(pl.lit(why)) for why, which in found.items())
    no_response = pl.when(pl.col("n_tokens") == 0).then(pl.lit(NO_RESPONSE))
    return examples.select(pl.coalesce("refused", no_response, *reasons)).to_series()
