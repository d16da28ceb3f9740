"""What a method has to be compared with: chance, length, balance, the whole pool, and the labels of a corrupted one."""

import numpy as np

from moesift.fields import ConfigError
from moesift.methods.declaration import METHODS, N_TOKENS, Column, Scores, method

CLEAN = "clean"  # the label of an example that nothing was done to
SOURCE = Column("pool", "source")


def _drawn(seed: int, draw: int) -> np.random.Generator:
    """Return the generator of one of several draws with the same seed."""
    return np.random.default_rng([seed, draw] if draw else seed)


@method(reads={"n_tokens": N_TOKENS}, caption="nothing: a seeded draw", source="baseline")
def random(n_tokens: np.ndarray, *, draw: int = 0, seed: int) -> np.ndarray:
    """Return uniform random scores, (N,): selecting by them is random selection."""
    return _drawn(seed, draw).random(len(n_tokens))


@method(
    reads={"source": SOURCE, "n_tokens": N_TOKENS},
    caption="nothing: a seeded draw with as many examples of each source",
    source="baseline",
    ranks=True,
)
def balanced(source: np.ndarray, n_tokens: np.ndarray, *, draw: int = 0, seed: int) -> np.ndarray:
    """Return scores by which each source has as many among the best, (N,), until it has no more.

    What has no response token, and so no score, takes the place of none.
    """
    drawn = _drawn(seed, draw).permutation(len(source))
    place = np.full(len(source), np.nan)
    for name in np.unique(source):
        rows = np.flatnonzero((source == name) & (n_tokens > 0))
        place[rows] = drawn[rows].argsort().argsort()  # the place in its source's own order
    return -(place + drawn / len(source))  # of equal places the draw decides


@method(reads={"n_tokens": N_TOKENS}, caption="response tokens", source="arXiv 2402.04833")
def length(n_tokens: np.ndarray) -> np.ndarray:
    """Return the response tokens of each example, (N,): the longest first is a strong baseline."""
    return n_tokens.astype(float)


@method(reads={"n_tokens": N_TOKENS}, caption="the whole pool", source="baseline", keeps="pool")
def full(n_tokens: np.ndarray) -> np.ndarray:
    """Return one score for all, (N,): the whole pool is kept, whatever the budget."""
    return np.zeros(len(n_tokens))


@method(
    reads={"n_tokens": N_TOKENS},
    caption="nothing of the pool: the queries themselves",
    source="control",
    keeps="queries",
)
def queries_only(n_tokens: np.ndarray) -> Scores:
    """Return no score for any example, (N,): the target is tuned on the queries, which cost nothing to select."""
    return np.full(len(n_tokens), np.nan), {"only the queries are kept": np.ones(len(n_tokens), dtype=bool)}


@method(
    reads={"corruption": Column("pool", "corruption")},
    caption="clean by its label: a seeded draw of what was not corrupted",
    source="upper bound on corrupted pools",
    ranks=True,
)
def oracle(corruption: np.ndarray, *, seed: int) -> np.ndarray:
    """Return random scores, (N,), those of clean examples above all others."""
    return np.random.default_rng(seed).random(len(corruption)) + (corruption == CLEAN)


def _of(parameters) -> dict[str, Column]:
    if parameters.of not in METHODS:
        raise ConfigError(f"methods.bottom: of: unknown method {parameters.of}; known methods: {', '.join(METHODS)}")
    declared = METHODS[parameters.of]
    if declared.needs_seed or declared.ranks:
        raise ConfigError(f"methods.bottom: of: {parameters.of} has no lowest ranked part; name a method that scores")
    return dict(declared.columns(declared.parameters()))


@method(reads=_of, caption="the lowest ranked by the method `of`", source="control", ranks=True)
def bottom(*, of: str = "nll", **columns: np.ndarray) -> Scores:
    """Return the negated scores of another method, (N,)."""
    found = METHODS[of].compute(**columns)
    return (-found[0], found[1]) if isinstance(found, tuple) else -found
