"""Near-duplicates by what a model makes of them: an exact search for pairs with a high cosine, block by block."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from moesift.errors import UserError

HELD = 2**28  # numbers of vectors that are held at once, 4 bytes each
PAIRS = 2**26  # pairs that are held, 20 bytes each

# The vectors of a pool from a place on, in blocks: places (B,), rising, and vectors (B, D). What has none is left out.
Blocks = Callable[[int], Iterator[tuple[np.ndarray, Tensor]]]


class Similar(NamedTuple):
    """The M pairs of N vectors with a high cosine, by their places, and how near each vector is to another."""

    places: np.ndarray  # (M,) rising
    others: np.ndarray  # (M,) each after its place
    cosines: np.ndarray  # (M,) float32
    nearest: np.ndarray  # (N,) the cosine with the most similar other vector; -inf where there is none


def similar_pairs(blocks: Blocks, size: int, threshold: float, held: int = HELD, most: int = PAIRS) -> Similar:
    """Return all pairs with a cosine of `threshold` or more, computed in float32: N² · D multiplications.

    As many vectors as fit are held, and those after them are read once for all of these; then the next ones are held.

    Args:
        blocks: the vectors.
        size: N, places.
        threshold: in (0, 1).
        held: numbers of the vectors that are held, at least one block.
        most: pairs.

    Raises:
        UserError: there are more pairs than `most`.
    """
    nearest = np.full(size, -np.inf, dtype=np.float32)
    found, count = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))], 0
    start: int | None = 0
    while start is not None:
        own: list[tuple[np.ndarray, Tensor]] = []
        room, start_of_next = held, None
        for places, vectors in blocks(start):
            vectors = F.normalize(vectors.float(), dim=1)
            if start_of_next is None and (not own or vectors.numel() <= room):
                own.append((places, vectors))
                room -= vectors.numel()
            elif start_of_next is None:
                start_of_next = int(places[0])
            for own_places, own_vectors in own:
                cosines = own_vectors @ vectors.T  # (B, B)
                if own_places is places:  # each pair once, and none of a vector with itself
                    cosines.masked_fill_(torch.ones_like(cosines, dtype=torch.bool).tril(), -torch.inf)
                for axis, which in ((1, own_places), (0, places)):
                    nearest[which] = np.maximum(nearest[which], cosines.amax(dim=axis).cpu().numpy())
                rows, columns = (cosines >= threshold).nonzero(as_tuple=True)
                values = cosines[rows, columns].cpu().numpy()
                found.append((own_places[rows.cpu().numpy()], places[columns.cpu().numpy()], values))
                count += len(values)
                if count > most:
                    raise UserError(
                        f"select.near_duplicates.cosine: more than {most:,} pairs of examples have a cosine of "
                        f"{threshold:g} or more, which is no sign of a near-duplicate then; take a higher one"
                    )
        start = start_of_next
    one, other, values = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.lexsort((other, one))
    return Similar(one[order], other[order], np.minimum(values[order], 1), nearest)
