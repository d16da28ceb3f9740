"""A targeted method of words alone, without any model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from moesift.methods.declaration import Block, Blocks, Column, method

BUCKETS = 10_000
# A word, a run of punctuation, or a character of a script that has no spaces between words (Chinese and Japanese).
UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]+"


@method(
    reads={"messages": Column("pool", "messages")},
    targeted=True,
    by_target=True,
    caption="words and pairs of words that are likelier in the queries than in the pool",
    source="arXiv 2302.03169",
)
def dsir(
    pool: Blocks,
    queries: Block,
    *,
    smoothing: Annotated[float, Field(gt=0)] = 1.0,
    gumbel: bool = False,
    seed: int,
) -> Iterator[np.ndarray]:
    """Return each example's log importance weight, Σ_b c_b [log p_target(b) - log p_pool(b)], for each target, (B, T).

    c_b counts the lower-cased words and pairs of neighbouring words of prompt and response that a hash sends to bucket
    b, and p are shares of such counts, with `smoothing` added to each bucket. As published it is a sum, not a mean: the
    more of its words point to the target, the better an example is, and the longer.

    Args:
        gumbel: add Gumbel noise, so that the best are a draw without replacement by these weights, as published; by
            default they are the best. Weights of long examples differ by more than the noise.
        seed: of the noise.
    """
    owners, of_queries = np.array(queries["target"].tolist()), _counts(queries["messages"])
    of_targets = [of_queries[owners == target].sum(axis=0) for target in range(owners.max() + 1)]
    of_pool = sum(_counts(block["messages"]).sum(axis=0) for block in pool)  # (b,)
    difference = np.stack([_log_shares(one, smoothing) - _log_shares(of_pool, smoothing) for one in of_targets], axis=1)
    noise = np.random.default_rng(seed)
    for block in pool:
        counts = _counts(block["messages"])
        weights = counts @ difference  # (B, b) @ (b, T)
        weights[counts.sum(axis=1) == 0] = np.nan  # without a word there is nothing to weigh
        yield weights + noise.gumbel(size=weights.shape) if gumbel else weights


def _counts(conversations: Sequence[Sequence[Mapping[str, str]]]) -> Any:
    """Return how many words and pairs of each conversation are in each bucket, (n, b), as a sparse array."""
    from scipy.sparse import csr_array  # both take seconds to import, and methods are imported with every plan
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        token_pattern=WORD, ngram_range=(1, 2), n_features=BUCKETS, alternate_sign=False, norm=None
    )
    return csr_array(hashing.transform("\n".join(turn["content"] for turn in turns) for turns in conversations))


def _log_shares(counts: Any, smoothing: float) -> np.ndarray:
    """Return the logarithm of each bucket's share of the counts, (b,)."""
    smoothed = counts + smoothing
    return np.log(smoothed / smoothed.sum())
