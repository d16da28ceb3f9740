"""What is typical of a source, by robust statistics: what was spoilt is unlike the rest of it, one way or another."""

import numpy as np

from moesift.errors import UserError
from moesift.scoring import methods

LEAST = 50  # examples that it takes to know what is typical
MOST = 20_000  # examples of a source that say what is typical; all are judged by them
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
    found = np.full(len(nats), np.nan)
    known = np.isfinite(nats) & np.isfinite(nats_alone) & np.isfinite(nats_end) & (tokens > 0)
    if known.sum() < LEAST:
        raise UserError(
            f"methods: typical_pmi needs {LEAST} examples with a response to know what is typical, and there are "
            f"{known.sum()}; take likelihood_pmi"
        )
    likely = np.full(len(nats), np.nan)
    likely[known] = methods.likelihood_pmi(nats[known], nats_alone[known], tokens[known])
    seen = np.full((len(nats), 4), np.nan)
    losses = np.column_stack([nats[known], nats_alone[known]]) / tokens[known, None]
    seen[known] = np.column_stack([np.log(np.maximum(losses, FLOOR)), np.log(tokens[known]), nats_end[known]])  # (n, 4)

    names, of_each, counts = np.unique(sources[known], return_inverse=True, return_counts=True)
    few = counts[of_each] < LEAST  # (n,)
    groups = [of_each == number for number in range(len(names)) if counts[number] >= LEAST]
    if few.any():
        groups.append(few)
    rows = known.nonzero()[0]
    for group in groups:
        judged = rows[group]
        typical = judged if len(judged) >= LEAST else rows
        distance = _distance(seen[typical], seen[judged])
        others = distance if typical is judged else _distance(seen[typical], seen[typical])
        found[judged] = _z(likely[judged], likely[typical]) - _z(distance, others)
    return found


def _distance(typical: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Return the Mahalanobis distance of each judged row from the typical ones, (n,)."""
    from sklearn.covariance import MinCovDet  # takes seconds to import, and `score` is mostly run for other methods

    some = typical
    if len(typical) > MOST:
        some = typical[np.random.default_rng(0).choice(len(typical), MOST, replace=False)]
    return np.sqrt(MinCovDet(random_state=0).fit(some).mahalanobis(judged))


def _z(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return values less the mean of others, in standard deviations of these; zero where all are alike."""
    return (values - among.mean()) / (among.std() or 1.0)
