"""Which examples of the pool each query, or each target, takes: similarities to an order, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from moesift.methods.declaration import Aggregate
from moesift.select.table import why_not

HELD = 2**25  # similarities that are held from one reading of the pool, 8 bytes each, and thrice as many meanwhile
LOWER = 2**31 - 1  # the lower bits of an int32, all but its sign
AHEAD = 256  # places that are looked at at once for one that is still there

Blocks = Callable[[], Iterator[Tensor]]  # of the pool, (B, columns) each, from its start whenever it is called


class Assigned(NamedTuple):
    """The examples that were taken, the first first: M of the N of the pool, those with a similarity."""

    rows: np.ndarray  # (M,) places in the pool
    targets: np.ndarray  # (M,)
    queries: np.ndarray  # (M,) the most similar query of the target, or the one whose turn it was; by target -1
    similarities: np.ndarray  # (M,) to that query; of `mean` the mean over the target's, by target its number


def assign(similarities: Blocks, owners: np.ndarray, aggregate: Aggregate | None, ranks: np.ndarray) -> Assigned:
    """Return the order in which the examples of a pool are taken, by round-robin over queries and targets.

    The targets take turns. With `round_robin` the next query of the target takes its most similar example that is
    still there (RDS+, arXiv 2503.01807); with `max` and `mean` the target takes what is most similar to any of its
    queries, or to all of them in the mean (RDS+ for several targets is `max`; LESS, arXiv 2402.04333, is `mean`).

    Args:
        similarities: of the pool with the V queries, (B, V) a block; nan for what has none.
        owners: the target, from 0, that each query belongs to, (V,).
        aggregate: None where the columns are the T targets instead of queries.
        ranks: of equally similar examples that of the smallest rank is taken first, a permutation of N.
    """
    own = [np.flatnonzero(owners == target) for target in range(owners.max() + 1)]  # T times the queries of a target
    count = len(own)

    def query_of(turn: int) -> int:
        of_target = own[turn % count]
        return of_target[turn // count % len(of_target)]

    if aggregate == "round_robin":
        rows, queries, values = round_robin(similarities, query_of, len(owners), ranks)
        return Assigned(rows, owners[queries], queries, values)
    nearest = np.full((len(ranks), count), -1, dtype=np.int32)  # the most similar query of each target

    def by_target() -> Iterator[Tensor]:
        return similarities() if aggregate is None else _of_targets(similarities(), own, aggregate, nearest)

    rows, targets, values = round_robin(by_target, lambda turn: turn % count, count, ranks)
    return Assigned(rows, targets, nearest[rows, targets].astype(np.int64), values)


def _of_targets(
    blocks: Iterator[Tensor], own: Sequence[np.ndarray], aggregate: Aggregate, nearest: np.ndarray
) -> Iterator[Tensor]:
    """Yield the largest or the mean similarity to the queries of each target, (B, T).

    Args:
        blocks: (B, V) each.
        own: T times the queries of a target.
        nearest: the most similar query of each target, (N, T), filled in meanwhile.
    """
    start = 0
    for block in blocks:
        columns = []
        for target, queries in enumerate(own):
            similar = block[:, queries]  # (B, v)
            best = similar.nan_to_num(-torch.inf).max(dim=1)  # a query without a similarity keeps no other from taking
            nearest[start : start + len(block), target] = queries[best.indices.cpu()]
            columns.append(similar.nanmean(dim=1) if aggregate == "mean" else best.values)
        start += len(block)
        yield torch.stack(columns, dim=1)


def round_robin(
    blocks: Blocks, turns: Callable[[int], int], columns: int, ranks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows in the order in which the columns take them, by turns their largest number that is still there.

    The largest numbers of each column are held; when a column has used its own up, the blocks are read again for what
    is left. What is nan or infinite is never taken.

    Args:
        blocks: (B, columns) each, N rows in all.
        turns: which column takes the n-th row.
        ranks: of equal numbers the row of the smallest rank comes first, a permutation of N.

    Returns:
        The rows, the columns that took them, and the numbers there, (M,) each.
    """
    size = len(ranks)
    gone = np.zeros(size, dtype=bool)
    rows, takers, numbers = (np.empty(size, dtype=kind) for kind in (np.int64, np.int64, np.float32))
    taken = turn = 0
    has_more = np.ones(columns, dtype=bool)
    while has_more.any():
        left = size - taken
        most = min(left, max(1, HELD // columns))
        values, places = largest(blocks, gone, most, ranks)  # (columns, most)
        lengths = np.isfinite(values).sum(axis=1)
        at = np.zeros(columns, dtype=np.int64)
        while has_more.any():
            column = turns(turn)
            at[column] = _first_left(places[column, : lengths[column]], gone, at[column])
            if at[column] < lengths[column]:
                row = places[column, at[column]]
                rows[taken], takers[taken], numbers[taken] = row, column, values[column, at[column]]
                gone[row] = True
                taken += 1
            elif lengths[column] == most < left:
                break  # it has more, further down
            else:
                has_more[column] = False
            turn += 1
    return rows[:taken], takers[:taken], numbers[:taken]


def largest(blocks: Blocks, gone: np.ndarray, most: int, ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest finite numbers of each column and their rows, (columns, most), the largest first.

    Rows that are gone are left out; of equal numbers the row of the smallest rank comes first. -inf fills up.
    """
    kept: list[Tensor] = []
    start = waiting = 0
    for block in blocks():
        end = start + len(block)
        numbers = block.T.float().nan_to_num(-torch.inf, -torch.inf, -torch.inf)  # (columns, B)
        numbers[:, torch.from_numpy(gone[start:end]).to(block.device)] = -torch.inf
        kept.append(_keys(numbers, torch.from_numpy(ranks[start:end]).to(block.device)))
        start, waiting = end, waiting + len(block)
        if waiting >= 2 * most:  # not at every block: each time all that is held is looked through
            kept, waiting = [_top(kept, most)], most
    values, rank = _of_keys(_top(kept, most).sort(dim=1, descending=True).values)
    rows = np.empty_like(ranks)
    rows[ranks] = np.arange(len(ranks))
    return values.cpu().numpy(), rows[rank.cpu().numpy()]


def _keys(numbers: Tensor, ranks: Tensor) -> Tensor:
    """Return integers in the order of the numbers, of equal ones in that of the ranks downwards: (columns, B) int64.

    The bits of a float32 that is not negative are in its order as an int32; of a negative one all but the sign are
    reversed.
    """
    bits = (numbers + 0.0).view(torch.int32)  # the sum, because -0.0 is 0.0
    ordered = torch.where(bits < 0, bits ^ LOWER, bits)
    return ordered.long() << 32 | (LOWER - ranks)


def _of_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers and the ranks that keys were made of."""
    ordered = (keys >> 32).int()
    return torch.where(ordered < 0, ordered ^ LOWER, ordered).view(torch.float32), LOWER - (keys & LOWER)


def _top(kept: list[Tensor], most: int) -> Tensor:
    keys = torch.cat(kept, dim=1)
    return keys if keys.shape[1] <= most else keys.topk(most, dim=1, sorted=False).values


def _first_left(rows: np.ndarray, gone: np.ndarray, start: int) -> int:
    """Return the first place from `start` on whose row is not gone, the number of places if there is none."""
    for place in range(start, len(rows), AHEAD):
        left = ~gone[rows[place : place + AHEAD]]
        if left.any():
            return place + int(left.argmax())
    return len(rows)


def order_table(examples: pl.DataFrame, found: Assigned, targets: list[str], queries: list[str]) -> pl.DataFrame:
    """Return the scores of N examples in the order in which they were taken, those without a score last, by id.

    Args:
        examples: columns id, source, n_tokens and refused (why it has no tokens).
        found: what `select.targeted.assign` returns.
        targets: names.
        queries: ids.

    Returns:
        Columns id, source, score (the similarity), n_tokens, reason (why there is no score), turn (from 0), target and
        query (its id).
    """
    taken = pl.DataFrame(
        {
            "row": found.rows,
            "score": found.similarities.astype(np.float64),
            "turn": np.arange(len(found.rows)),
            "target": [targets[target] for target in found.targets.tolist()],
            "query": [None if query < 0 else queries[query] for query in found.queries.tolist()],
        },
        {"row": pl.Int64, "score": pl.Float64, "turn": pl.Int64, "target": pl.String, "query": pl.String},
    )
    table = examples.with_columns(row=pl.int_range(pl.len())).join(taken, on="row", how="left")
    table = table.with_columns(reason=why_not(table, {}, table["score"].is_null()))
    columns = ("id", "source", "score", "n_tokens", "reason", "turn", "target", "query")
    return table.select(columns).sort("turn", "id", nulls_last=True)
