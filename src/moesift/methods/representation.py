"""Targeted methods of what a model makes of an example as a whole: its hidden states, and where its routers send it."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from moesift.methods.declaration import Block, Blocks, Column, method

Pooling = Literal["weighted", "mean", "last_token"]  # of the vectors of the tokens, see moesift.passes.pooling
RoutingPooling = Literal["weighted", "last_token"]

# Below this share of its mean, a standard deviation is the rounding of float32 numbers that are all the same.
CONSTANT = 1e-6


@method(
    reads=lambda parameters: {"hidden": Column("representation", parameters.pooling)},
    targeted=True,
    caption="near the queries by the last hidden states (RDS+)",
    source="arXiv 2503.01807",
)
def rds(pool: Blocks, queries: Block, *, pooling: Pooling = "weighted") -> Iterator[Any]:
    """Return the cosine of the pooled last hidden states of each example with those of each query, (B, V)."""
    return map(_cosine_with(queries, "hidden"), pool)


@method(
    reads=lambda parameters: {"hidden": Column("representation_middle", parameters.pooling)},
    targeted=True,
    caption="near the queries by what the middle layer reads, for half the cost",
    source="moesift, after arXiv 2503.01807",
)
def rds_middle(pool: Blocks, queries: Block, *, pooling: Pooling = "weighted") -> Iterator[Any]:
    """Return the cosine of what the middle layer's feed-forward block reads of each example and query, (B, V)."""
    return map(_cosine_with(queries, "hidden"), pool)


@method(
    reads=lambda parameters: {"routing": Column("router_logits", parameters.pooling)},
    targeted=True,
    caption="near the queries by the logits of all routers",
    source="after arXiv 2410.10814",
)
def routes(pool: Blocks, queries: Block, *, pooling: RoutingPooling = "weighted") -> Iterator[Any]:
    """Return the cosine of the router logits of each example and query, each in standard deviations, (B, V)."""
    return map(_cosine_with(queries, "routing", *_statistics(pool, "routing")), pool)


@method(
    reads=lambda parameters: {
        "hidden": Column("representation", parameters.pooling),
        "routing": Column("router_logits", parameters.routing_pooling),
    },
    targeted=True,
    caption="near the queries by the last hidden states and by the logits of all routers (MoEE)",
    source="arXiv 2410.10814",
)
def moee(
    pool: Blocks,
    queries: Block,
    *,
    alpha: float = 1.0,
    pooling: Pooling = "weighted",
    routing_pooling: RoutingPooling = "weighted",
) -> Iterator[Any]:
    """Return the similarity of `rds` plus alpha times that of `routes`, (B, V)."""
    hidden = _cosine_with(queries, "hidden")
    routing = _cosine_with(queries, "routing", *_statistics(pool, "routing"))
    return (hidden(block) + alpha * routing(block) for block in pool)


def _cosine_with(queries: Block, name: str, mean: Any = 0.0, deviation: Any = 1.0) -> Callable[[Block], Any]:
    """Return what gives the cosines of a column of a block with that of the queries, (B, V), in these deviations."""
    wanted = _unit((queries[name] - mean) / deviation)  # (V, D)
    return lambda block: _unit((block[name] - mean) / deviation) @ wanted.T


def _unit(vectors: Any) -> Any:
    """Return vectors of length 1, (n, D) float32; nan for one that is zero, which has no direction."""
    return (vectors / vectors.norm(dim=1, keepdim=True)).float()


def _statistics(pool: Blocks, name: str) -> tuple[Any, Any]:
    """Return mean and standard deviation of each number of a column over the whole pool, (D,) float64.

    A number that is the same in all examples gets an infinite deviation, and so counts nothing.
    """
    count = 0
    total: Any = 0.0
    squares: Any = 0.0
    for block in pool:
        rows = block[name].double()
        rows = rows[rows.isfinite().all(dim=1)]
        count += len(rows)
        total, squares = total + rows.sum(dim=0), squares + rows.square().sum(dim=0)
    mean = total / max(count, 1)
    variance = squares / max(count, 1) - mean * mean
    return mean, variance.where(variance > (CONSTANT * mean) ** 2, float("inf")).sqrt()
