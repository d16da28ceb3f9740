"""Choosing examples that are far from each other."""

import numpy as np
from scipy.spatial.distance import cdist


def k_centre(embeddings: np.ndarray, count: int) -> list[int]:
    """Return the indices of `count` points that cover all of them: each is the farthest from those before it.

    The greedy algorithm for the k-centre problem (Gonzalez 1985; for core sets Sener and Savarese, arXiv 1708.00489,
    algorithm 1), which covers all points within at most twice the smallest possible radius. It begins with the first
    point, the best scored one. Of equally far points the first is taken. It takes `count` passes over the points, and
    beside them the memory of one distance each.

    Args:
        embeddings: (N, D), compared by Euclidean distance.
        count: at least one, at most N.

    Raises:
        ValueError: a point is not finite.
    """
    if not np.isfinite(embeddings).all():
        raise ValueError("a point with a number that is not finite is at no distance from any other")
    embeddings = embeddings.astype(np.float64)  # once: `cdist` would do it in each pass
    chosen = [0]
    nearest = cdist(embeddings, embeddings[:1])[:, 0]  # (N,) distance to the nearest chosen point
    nearest[0] = -1.0  # what is chosen is not chosen again, also where other points lie on it
    while len(chosen) < count:
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = np.minimum(nearest, cdist(embeddings, embeddings[farthest : farthest + 1])[:, 0])
        nearest[farthest] = -1.0
    return chosen
