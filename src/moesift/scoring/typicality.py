"""What is typical of a source, by robust statistics: what was spoilt is unlike the rest of it, one way or another."""

import numpy as np

from moesift.errors import UserError
from moesift.scoring import methods

LEAST = 50  # examples that it takes to know what is typical
MOST = 20_000  # examples of a source that say what is typical; all are judged by them
COMPONENTS = 4  # of what a router reads
FLOOR = 1e-3  # nats per token, below which losses are alike


def typical_pmi(
    nats: np.ndarray, nats_alone: np.ndarray, nats_end: np.ndarray, tokens: np.ndarray, sources: np.ndarray
) -> np.ndarray:
    """Return z(`likelihood_pmi`) - z(d), each within its source, (N,) in standard deviations.

    The likelihood asks whether a response is sound text that answers its instruction; the distance d asks whether its
    losses and its length are like those of its source, and so sees what is *too* likely (a refusal, a repetition), too
    short or broken off. d is the Mahalanobis distance of (log NLL(y | x), log NLL(y), log tokens, NLL of the last
    token) by the minimum covariance determinant (Rousseeuw and Van Driessen 1999), which the spoilt examples do not
    move while they are fewer than half. Sources of fewer than `LEAST` examples are taken together, and with all others
    if even so they are too few.

    Args:
        nats: cross-entropy of the response tokens given the instruction, summed, (N,); nan where it was not measured.
        nats_alone: cross-entropy of the same tokens without it, (N,).
        nats_end: cross-entropy of the last of them given the instruction, (N,).
        tokens: response tokens, (N,).
        sources: names, (N,).

    Raises:
        UserError: there are too few examples to know what is typical.
    """
    return _within("typical_pmi", (nats, nats_alone, nats_end, tokens), None, sources)


def typical_inputs(
    nats: np.ndarray,
    nats_alone: np.ndarray,
    nats_end: np.ndarray,
    sketch: np.ndarray,
    tokens: np.ndarray,
    sources: np.ndarray,
) -> np.ndarray:
    """Return z(`likelihood_pmi`) - z(d) as `typical_pmi`, with what a router reads in the distance d, (N,).

    d is the Mahalanobis distance, by the minimum covariance determinant, of the four numbers of `typical_pmi` and of
    the first COMPONENTS principal components of the sketch within the source: a response that a model reads unlike the
    others of its source (a refusal, an answer to something else) is unlike them also where its losses are not.
    Distances of hidden states tell what a model was not made for (Lee et al., arXiv 1807.03888); these tell what is not
    of the source.

    Args:
        nats, nats_alone, nats_end, tokens, sources: as in `typical_pmi`.
        sketch: of what the middle router reads, a mean over the response tokens, (N, S); nan where it was not measured.

    Raises:
        UserError: there are too few examples to know what is typical.
    """
    return _within("typical_inputs", (nats, nats_alone, nats_end, tokens), sketch, sources)


def _within(
    name: str,
    losses: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    sketch: np.ndarray | None,
    sources: np.ndarray,
) -> np.ndarray:
    """Return z(likelihood_pmi) - z(d), each within its source, (N,); nan where something was not measured."""
    nats, nats_alone, nats_end, tokens = losses
    tokens = np.where(tokens > 0, tokens, np.nan)
    likely = methods.likelihood_pmi(nats, nats_alone, tokens)
    means = np.column_stack([nats, nats_alone]) / tokens[:, None]  # (N, 2)
    seen = np.column_stack([np.log(np.maximum(means, FLOOR)), np.log(tokens), nats_end])  # (N, 4)
    found = np.full(len(nats), np.nan)
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
        distance = _distance(seen, sketch, typical, judged)
        others = distance if typical is judged else _distance(seen, sketch, typical, typical)
        found[judged] = _z(likely[judged], likely[typical]) - _z(distance, others)
    return found


def _distance(seen: np.ndarray, sketch: np.ndarray | None, typical: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Return the Mahalanobis distance of the judged rows from the typical ones, (n,)."""
    from sklearn.covariance import MinCovDet  # takes seconds to import, and `score` is mostly run for other methods
    from sklearn.decomposition import PCA

    some = typical[np.lexsort(seen[typical].T)]  # the search begins with rows by number: not by the pool's order
    if len(typical) > MOST:
        some = some[np.random.default_rng(0).choice(len(some), MOST, replace=False)]
    one, other = seen[some], seen[judged]  # (m, 4), (n, 4)
    if sketch is not None:
        parts = PCA(COMPONENTS, svd_solver="covariance_eigh").fit(sketch[some])
        one, other = (np.hstack([each, parts.transform(sketch[of])]) for each, of in ((one, some), (other, judged)))
    return np.sqrt(MinCovDet(random_state=0).fit(one).mahalanobis(other))


def _z(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return values less the mean of others, in standard deviations of these; zero where all are alike."""
    return (values - among.mean()) / (among.std() or 1.0)
