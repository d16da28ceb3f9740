"""The formulas of the scoring methods.

A formula is a pure function of what was measured of N examples, an array each; the higher its value, the better. Where
it has none, it gives nan, and no score is made of that.
"""

from collections.abc import Sequence

import numpy as np


def calculate_quality_score(signals: np.ndarray, layers: Sequence[int]) -> np.ndarray:
    """Return the quality score: the mean of the log odds s over the chosen layers and the counted tokens, (N,) in nats.

    s = LSE(z) - LSE(u) of the quality experts against the trash cans; every layer counts the same tokens, so the mean
    of the layers' means is the mean over both.

    Args:
        signals: each layer's mean of s over the counted tokens, (N, L).
        layers: indices of the routed layers that count.
    """
    return signals[:, list(layers)].mean(axis=1)  # (N, L) -> (N,)


def expert_gain(nats_shut: np.ndarray, nats_open: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return what the routed experts are worth to an example: loss without them minus loss with them, (N,) in nats.

    Per response token. Without them the keep share is 0 in every layer, with them it is 1; no learned gate is involved.

    Args:
        nats_shut: cross-entropy of the response tokens with the keep share at 0, summed, (N,).
        nats_open: the same at 1, (N,).
        tokens: response tokens, (N,).
    """
    return (nats_shut - nats_open) / tokens


def reducible(nats_first: np.ndarray, nats_last: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return the loss that the warm-up took away, before minus after, per response token, (N,) in nats.

    The idea of the reducible hold-out loss (RHO-LOSS, Mindermann et al., arXiv 2206.07137, eq. 3) with the warmed
    selector in the place of the hold-out model: it says nothing of an example that the warm-up trained on.

    Args:
        nats_first: cross-entropy of the response tokens at epoch 0, summed, (N,).
        nats_last: the same at the last epoch, (N,).
        tokens: response tokens, (N,).
    """
    return (nats_first - nats_last) / tokens


def likelihood(nats: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return minus the mean cross-entropy of the response tokens given the instruction, (N,): the likely ones first.

    Args:
        nats: cross-entropy of the response tokens, summed, (N,).
        tokens: response tokens, (N,).
    """
    return -nats / tokens


def ifd(nats: np.ndarray, nats_alone: np.ndarray) -> np.ndarray:
    """Return the instruction-following difficulty s(A|Q) / s(A), (N,): the hard ones first.

    Li et al., arXiv 2308.12032, eq. 4: the mean loss of the response given the instruction over its mean loss alone.
    Both are means over the same tokens, so that their number cancels. The paper leaves out what reaches 1, where the
    instruction does not help.

    Args:
        nats: cross-entropy of the response tokens given the instruction, summed, (N,).
        nats_alone: the same without the instruction, (N,).
    """
    return nats / nats_alone


def random(count: int, seed: int) -> np.ndarray:
    """Return uniform random scores, (count,): selecting by them is random selection."""
    return np.random.default_rng(seed).random(count)


def instruction_gain(nats: np.ndarray, nats_alone: np.ndarray) -> np.ndarray:
    """Return the share of the response's loss that its instruction takes away, 1 - s(A|Q) / s(A), (N,).

    IFD turned round: a response that has nothing to do with its instruction gains nothing from it. Below zero where the
    instruction misleads.

    Args:
        nats: cross-entropy of the response tokens given the instruction, summed, (N,).
        nats_alone: cross-entropy of the same tokens without it, (N,).
    """
    return 1 - nats / nats_alone


def likelihood_pmi(nats: np.ndarray, nats_alone: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return log p(A|Q) plus the pointwise mutual information log p(A|Q) - log p(A), per response token, (N,) in nats.

    The likelihood falls where a response is broken text, the information (Fano 1961; of answers, Holtzman et al., arXiv
    2104.08315) where it is sound text that answers something else.

    Args:
        nats: cross-entropy of the response tokens given the instruction, summed, (N,).
        nats_alone: cross-entropy of the same tokens without it, (N,).
        tokens: response tokens, (N,).
    """
    return (nats_alone - 2 * nats) / tokens


def length(tokens: np.ndarray) -> np.ndarray:
    """Return the response tokens of each example, (N,): the longest first is a strong baseline (arXiv 2402.04833)."""
    return tokens.astype(float)
