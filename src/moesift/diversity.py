"""Choosing examples that are far from each other."""

import numpy as np


def k_centre(embeddings: np.ndarray, count: int) -> list[int]:
    """Return the indices of `count` points that cover all of them: each is the farthest from those before it.

    The greedy algorithm for the k-centre problem (Gonzalez 1985; for core sets Sener and Savarese, arXiv 1708.00489,
    algorithm 1), which covers all points within at most twice the smallest possible radius. It begins with the first
    point, the best scored one. Of equally far points the first is taken.

    Args:
        embeddings: (N, D), compared by Euclidean distance.
        count: at most N.
    """
    chosen = [0]
    nearest = np.linalg.norm(embeddings - embeddings[0], axis=1)  # (N,) distance to the nearest chosen point
    nearest[0] = -1.0  # what is chosen is not chosen again, also where other points lie on it
    while len(chosen) < count:
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = np.minimum(nearest, np.linalg.norm(embeddings - embeddings[farthest], axis=1))
        nearest[farthest] = -1.0
    return chosen[:count]
