"""A targeted method of two warm-ups: one on the pool, and one on the queries of a target."""

from collections.abc import Iterator
from typing import Any

from moesift.methods.declaration import N_TOKENS, Block, Blocks, Column, method


@method(
    reads={
        "nll": Column("likelihood", "nll", "warmed"),
        "nll_target": Column("likelihood", "nll", "on_target"),
        "n_tokens": N_TOKENS,
    },
    targeted=True,
    by_target=True,
    caption="likelier after a warm-up on the queries than after one on the pool",
    source="Moore and Lewis 2010",
)
def moore_lewis(pool: Blocks, queries: Block) -> Iterator[Any]:
    """Return the loss after the warm-up on the pool minus that after one on a target's queries, (B, T).

    Per response token, in nats. The loss alone, or what one warm-up takes off it, would prefer short responses with a
    high loss; what is easy or hard for both models cancels.
    """
    for block in pool:
        yield (block["nll"][:, None] - block["nll_target"]) / block["n_tokens"][:, None]
