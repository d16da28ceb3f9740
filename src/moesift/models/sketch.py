"""Long vectors in few numbers, with the inner products that they have, on average."""

import functools

import numpy as np
import torch
from torch import Tensor


@functools.cache  # every batch is projected alike
def places(name: str, size: int, dimension: int, device: torch.device) -> Tensor:
    """Return where each number of a named part of a vector is added, (size,) int32 in [0, 2 * dimension).

    A place p below `dimension` stands for the bucket p and the sign +, any other for the bucket p - `dimension` and the
    sign -, all equally likely. They depend on the name alone: 4 bytes a number in place of a column of the matrix.
    """
    drawn = np.random.default_rng(list(name.encode())).integers(2 * dimension, size=size, dtype=np.int32)
    return torch.from_numpy(drawn).to(device)


def add(sums: Tensor, name: str, values: Tensor) -> None:
    """Add one named part of some vectors to their sketches.

    The count sketch (Charikar et al. 2002; feature hashing, Weinberger et al., arXiv 0902.2206): a random projection
    whose matrix has one entry a column, 1 or -1. Inner products are unbiased, with the variance of a dense Rademacher
    projection, (|x|² |y|² + <x, y>² - 2 Σ x_i² y_i²) / k, for one addition a number and not k. A vector with fewer
    numbers than the sketch is projected as well, so that all vectors of a name are alike.

    Args:
        sums: (B, 2 k) float32, zeros at first, changed in place.
        name: of the part, of a parameter.
        values: (B, n).
    """
    dimension = sums.shape[1] // 2
    sums.index_add_(1, places(name, values.shape[1], dimension, sums.device).long(), values.to(sums.dtype))


def result(sums: Tensor) -> Tensor:
    """Return the sketches, (B, k), of what was added for each sign, (B, 2 k)."""
    positive, negative = sums.chunk(2, dim=1)
    return positive - negative
