"""What is typical of a source, by robust statistics: what is corrupted is unlike the rest of its source."""

import numpy as np

from moesift.errors import UserError
from moesift.methods.baselines import SOURCE
from moesift.methods.declaration import N_TOKENS, Column, method
from moesift.methods.likelihood import NLL, NLL_END, NLL_UNCONDITIONAL, likelihood_pmi

LEAST = 50  # examples that it takes to know what is typical
MOST = 20_000  # examples of a source that say what is typical; all are judged by them
COMPONENTS = 4  # of the hidden state
FLOOR = 1e-3  # nats per token, below which losses are alike

LOSSES = {"nll": NLL, "nll_unconditional": NLL_UNCONDITIONAL, "nll_end": NLL_END}


@method(
    reads={**LOSSES, "n_tokens": N_TOKENS, "source": SOURCE},
    caption="`likelihood_pmi`, and losses and a length that are typical of the source",
    source="moesift",
)
def typical_pmi(
    nll: np.ndarray, nll_unconditional: np.ndarray, nll_end: np.ndarray, n_tokens: np.ndarray, source: np.ndarray
) -> np.ndarray:
    """Return z(`likelihood_pmi`) - z(d), each within its source, (N,) in standard deviations.

    The likelihood asks whether a response is sound text that answers its instruction; the distance d asks whether its
    losses and its length are like those of its source, and so sees what is *too* likely (a refusal, a repetition), too
    short or broken off. d is the Mahalanobis distance of (log NLL(y | x), log NLL(y), log tokens, NLL of the last
    token) by the minimum covariance determinant (Rousseeuw and Van Driessen 1999), which corrupted examples do not move
    while they are fewer than half. Sources of fewer than `LEAST` examples are taken together, and with all others if
    even so they are too few.

    Args:
        nll: cross-entropy of the response tokens given the instruction, summed, (N,); nan where it was not measured.
        nll_unconditional: cross-entropy of the same tokens without it, (N,).
        nll_end: cross-entropy of the last of them given the instruction, (N,).
        n_tokens: response tokens, (N,).
        source: names, (N,).

    Raises:
        UserError: there are too few examples to know what is typical.
    """
    return _within_source("typical_pmi", (nll, nll_unconditional, nll_end, n_tokens), None, source)


@method(
    reads={**LOSSES, "hidden": Column("likelihood", "hidden"), "n_tokens": N_TOKENS, "source": SOURCE},
    caption="`typical_pmi`, and a hidden state that is typical of the source",
    source="moesift, after arXiv 1807.03888",
)
def typical_inputs(
    nll: np.ndarray,
    nll_unconditional: np.ndarray,
    nll_end: np.ndarray,
    hidden: np.ndarray,
    n_tokens: np.ndarray,
    source: np.ndarray,
) -> np.ndarray:
    """Return z(`likelihood_pmi`) - z(d) as `typical_pmi`, with what the middle layer reads in the distance d, (N,).

    d is the Mahalanobis distance, by the minimum covariance determinant, of the four numbers of `typical_pmi` and of
    the first COMPONENTS principal components of `hidden` within the source: a response that a model reads unlike the
    others of its source (a refusal, an answer to something else) is unlike them also where its losses are not.
    Distances of hidden states tell what a model was not made for (Lee et al., arXiv 1807.03888); these tell what is not
    of the source.

    Args:
        nll, nll_unconditional, nll_end, n_tokens, source: as in `typical_pmi`.
        hidden: what the middle layer's feed-forward block reads, a mean over the response tokens, (N, S).

    Raises:
        UserError: there are too few examples to know what is typical.
    """
    return _within_source("typical_inputs", (nll, nll_unconditional, nll_end, n_tokens), hidden, source)


def _within_source(
    name: str,
    losses: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    hidden: np.ndarray | None,
    sources: np.ndarray,
) -> np.ndarray:
    """Return z(likelihood_pmi) - z(d), each within its source, (N,); nan where something was not measured."""
    nll, nll_unconditional, nll_end, n_tokens = losses
    n_tokens = np.where(n_tokens > 0, n_tokens, np.nan)
    likely = likelihood_pmi(nll, nll_unconditional, n_tokens)
    means = np.column_stack([nll, nll_unconditional]) / n_tokens[:, None]  # (N, 2)
    seen = np.column_stack([np.log(np.maximum(means, FLOOR)), np.log(n_tokens), nll_end])  # (N, 4)
    found = np.full(len(nll), np.nan)
    rows = np.flatnonzero(np.isfinite(seen).all(axis=1))  # (n,) of which everything is known
    if len(rows) < LEAST:
        raise UserError(
            f"methods: {name} needs {LEAST} examples with a response to know what is typical, and there are "
            f"{len(rows)}; take likelihood_pmi"
        )
    names, of_each, counts = np.unique(sources[rows], return_inverse=True, return_counts=True)
    few = counts[of_each] < LEAST  # (n,)
    groups = [of_each == number for number in range(len(names)) if counts[number] >= LEAST]
    if few.any():
        groups.append(few)
    for group in groups:
        judged = rows[group]
        typical = judged if len(judged) >= LEAST else rows
        distance = _distance(seen, hidden, typical, judged)
        others = distance if typical is judged else _distance(seen, hidden, typical, typical)
        found[judged] = _z(likely[judged], likely[typical]) - _z(distance, others)
    return found


def _distance(seen: np.ndarray, hidden: np.ndarray | None, typical: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Return the Mahalanobis distance of the judged rows from the typical ones, (n,)."""
    from sklearn.covariance import MinCovDet  # takes seconds to import, and `score` is mostly run for other methods
    from sklearn.decomposition import PCA

    some = typical[np.lexsort(seen[typical].T)]  # the search begins with rows by number: not by the pool's order
    if len(typical) > MOST:
        some = some[np.random.default_rng(0).choice(len(some), MOST, replace=False)]
    one, other = seen[some], seen[judged]  # (m, 4), (n, 4)
    if hidden is not None:
        parts = PCA(COMPONENTS, svd_solver="covariance_eigh").fit(hidden[some])
        one, other = (np.hstack([each, parts.transform(hidden[of])]) for each, of in ((one, some), (other, judged)))
    return np.sqrt(MinCovDet(random_state=0).fit(one).mahalanobis(other))


def _z(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return values less the mean of others, in standard deviations of these; zero where all are alike."""
    return (values - among.mean()) / (among.std() or 1.0)
