"""A targeted method of words alone, without any model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from moesift.data.turns import text_of
from moesift.data.words import UNSPACED
from moesift.methods.declaration import Block, Blocks, Column, method

BUCKETS = 10_000
# A word, a run of punctuation, or a character of a script that has no spaces between words (Chinese and Japanese).
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
    smoothing: Annotated[float, Field(gt=0, lt=1)] = 0.8,
    gumbel: Annotated[float, Field(ge=0)] = 0.0,
    seed: int,
) -> Iterator[np.ndarray]:
    """Return each example's log importance weight, Σ_b c_b [log p_target(b) - log p_pool(b)], for each target, (B, T).

    c_b counts the lower-cased words and pairs of neighbouring words of prompt and response that a hash sends to bucket
    b, p_pool are shares of such counts, and p_target is a mixture: `smoothing` of p_pool, and the rest of the shares in
    the queries. (The paper's targets are so large that 1e-8 will do; of a few queries most of what is left is noise
    then.) As published, it is a sum and not a mean: the more of its words point to the target, the better an example
    is, and so the longer ones come first or last.

    Args:
        gumbel: scale of Gumbel noise that is added. With 1, as published, the first ones are a draw without replacement
            by these weights; by default they are the best ones, as of every other method.
        seed: of the noise.
    """
    owners, of_queries = np.array(queries["target"].tolist()), _counts(queries["messages"])
    of_targets = np.stack([of_queries[owners == target].sum(axis=0) for target in range(owners.max() + 1)])  # (T, b)
    of_pool = sum(_counts(block["messages"]).sum(axis=0) for block in pool)  # (b,)
    shares = of_targets / of_targets.sum(axis=1, keepdims=True)
    ratios = shares * of_pool.sum() / np.maximum(of_pool, 1)  # what the pool never has, no example counts
    difference = np.log(smoothing + (1 - smoothing) * ratios).T  # (b, T)
    noise = np.random.default_rng(seed)
    for block in pool:
        counts = _counts(block["messages"])
        weights = counts @ difference  # (B, b) @ (b, T)
        weights[counts.sum(axis=1) == 0] = np.nan  # without a word there is nothing to weigh
        yield weights + noise.gumbel(scale=gumbel, size=weights.shape)


def _counts(conversations: Sequence[Sequence[Mapping[str, str]]]) -> Any:
    """Return how many words and pairs of each conversation are in each bucket, (n, b), as a sparse array."""
    from scipy.sparse import csr_array  # both take seconds to import, and methods are imported with every plan
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(
        token_pattern=WORD, ngram_range=(1, 2), n_features=BUCKETS, alternate_sign=False, norm=None
    )
    return csr_array(hashing.transform("\n".join(map(text_of, turns)) for turns in conversations))
