"""What is odd about a method's scores: most are missing, all are alike, or they are nearly the length or the source.

None of it stops a run: a score may be missing for good reasons, and the length may be what is wanted. It is said with
the likely reason in the log of the score and on the page, since no other number of the report shows it.
"""

from typing import NamedTuple

import polars as pl

from moesift.methods.external import NOT_GIVEN
from moesift.methods.likelihood import NO_HELP
from moesift.methods.reward import NO_TOKENS
from moesift.methods.routers import TRAINED_ON
from moesift.select.table import NO_RESPONSE, NOT_FINITE

MOST = 0.5  # share of the pool without a score
NEARLY = 0.9  # of a rank correlation with the length, and of what the source could explain
LEAST = 20  # examples with a score that it takes to look at ranks
OF_SOURCE = 5  # and of each source, on average

# Why scores are mostly missing, by how their reason begins.
LIKELY = {
    NO_HELP: "Mostly the selector does not know its chat template (a base model, or another model's tokenizer): look "
    "at what `nll` prefers, or take `instruction_gain`, which scores all.",
    NO_RESPONSE: "Raise data.max_length, or leave out sources with longer instructions.",
    TRAINED_ON: "Lower warmup.examples.",
    NOT_GIVEN: "An `id` is a hash of the messages: another `format` or a corruption gives another one. Take the ids of "
    "data/pool.parquet, or name examples by `source` and `row`.",
    NO_TOKENS: "Look at what the model's template refuses, such as system turns, and at data.max_length.",
    NOT_FINITE: "Look at the columns that it reads: float16 weights may overflow, and a similarity needs a direction.",
    "the chat template": "The selector's chat template does not write these conversations as they are: take another "
    "selector, or a source without what it refuses.",
}


class Health(NamedTuple):
    """The scores of a method in numbers."""

    examples: int  # of the pool
    missing: float  # share of them without a score
    distinct: int  # scores
    length: float | None  # rank correlation with the response tokens; None where there is none, or too few are scored
    source: float | None  # how much of the ranks' variance the source explains, see `_between`; None likewise
    reason: str | None  # the most frequent one for having no score


def health(scores: pl.DataFrame) -> Health:
    """Return the numbers of some scores, columns source, score, n_tokens (of the response) and reason."""
    scored = scores.drop_nulls("score").select(
        "source", score=pl.col("score").rank(), n_tokens=pl.col("n_tokens").rank()
    )
    reasons = scores["reason"].drop_nulls().value_counts().sort("count", "reason", descending=[True, False])
    enough = scored.height >= LEAST and scored["score"].n_unique() > 1
    sources = scored["source"].n_unique()
    alike = scored["n_tokens"].n_unique() < 2
    return Health(
        examples=scores.height,
        missing=1 - scored.height / scores.height,
        distinct=scored["score"].n_unique(),
        length=None if not enough or alike else scored.select(pl.corr("score", "n_tokens")).item(),
        source=_between(scored) if enough and 1 < sources <= scored.height / OF_SOURCE else None,
        reason=reasons["reason"][0] if reasons.height else None,
    )


def findings(found: Health) -> list[str]:
    """Return what is odd about scores, a sentence or two each, with the likely reason."""
    said = []
    if found.missing > MOST:
        likely = next((text for start, text in LIKELY.items() if (found.reason or "").startswith(start)), "")
        said.append(f"{found.missing:.0%} of the pool has no score, most often: {found.reason}. {likely}".strip())
    if found.distinct == 1:
        said.append(
            "All scores are the same: nothing is ranked, and what is kept is decided by the ids. Is the right column "
            "read, and does the model answer to what it reads?"
        )
    if found.length is not None and abs(found.length) > NEARLY:
        first = "longest" if found.length > 0 else "shortest"
        said.append(
            f"It is nearly the length of the response, {first} first (rank correlation {found.length:+.2f}): compare "
            "it with the method `length`. Often something is summed over the tokens that should be a mean."
        )
    if found.source is not None and found.source > NEARLY:
        said.append(
            f"It is nearly the source, which explains {found.source:.0%} of what it could of the ranks: sources differ "
            "in their format or scale more than examples in their quality. `reject` and `select.quota` act within each "
            "source; ranking alone keeps one source after the other."
        )
    return said


def _between(ranks: pl.DataFrame) -> float:
    """Return the variance of ranks (columns source, score) between sources, as a share of the most that it can be.

    It is the most, and the share 1, where every example of a source ranks above all of the next. Of the whole variance
    it would be 1 - 1/k² then, for k sources of one size: three quarters for two.
    """
    means = ranks.group_by("source").agg(size=pl.len(), mean=pl.mean("score")).sort("mean", "source")
    apart = pl.col("size").cum_sum() - (pl.col("size") - 1) / 2  # the mean rank of each if none overlaps another
    middle = (ranks.height + 1) / 2
    parts = means.select(
        found=(pl.col("size") * (pl.col("mean") - middle) ** 2).sum(),
        most=(pl.col("size") * (apart - middle) ** 2).sum(),
    )
    return parts["found"].item() / parts["most"].item()
