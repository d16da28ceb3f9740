"""The table of scores that every method writes."""

from typing import Any

import polars as pl

NO_RESPONSE = "no response token within data.max_length"

# Beside the columns id and source.
SCHEMA = {
    "score": pl.Float64,  # the higher the better; null where there is none
    "n_tokens": pl.Int64,  # tokens that the score was taken over
    "layer_scores": pl.List(pl.Float64),  # one a routed layer; null for methods without layers
    "reason": pl.String,  # why there is no score
}


def row(score: float, n_tokens: int, layer_scores: list[float] | None = None) -> dict[str, Any]:
    """Return the row of one example; without a counted token it has no score, but a reason."""
    if n_tokens == 0:
        return {"score": None, "n_tokens": 0, "layer_scores": None, "reason": NO_RESPONSE}
    return {"score": score, "n_tokens": n_tokens, "layer_scores": layer_scores, "reason": None}


def table(examples: pl.DataFrame, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return the scores of examples (columns id and source, and any more) from their rows, in the same order."""
    return examples.select("id", "source").hstack(pl.DataFrame(rows, schema=SCHEMA))
