"""A targeted method of two warm-ups: one on the pool, and one on the queries of a target."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import PositiveInt

from moesift.methods.declaration import N_TOKENS, Block, Blocks, Column, method
from moesift.passes.columns import ON_TARGET


def _reads(parameters: Any) -> dict[str, Column]:
    state = "warmed" if parameters.weights == "routers" else f"lora-{parameters.epoch}"
    return {
        "nll": Column("likelihood", "nll", state),
        "nll_target": Column("likelihood", "nll", state + ON_TARGET),
        "n_tokens": N_TOKENS,
    }


@method(
    reads=_reads,
    targeted=True,
    by_target=True,
    caption="likelier after a warm-up on the queries than after one on the pool",
    source="Moore and Lewis 2010",
)
def moore_lewis(
    pool: Blocks, queries: Block, *, weights: Literal["routers", "lora"] = "routers", epoch: PositiveInt = 4
) -> Iterator[Any]:
    """Return the loss after the warm-up on the pool minus that after one on a target's queries, (B, T).

    Per response token, in nats. The loss alone, or what one warm-up takes off it, would prefer short responses with a
    high loss; what is easy or hard for both models cancels. A warm-up trains the routers, of which the last epoch is
    read, or LoRA matrices, of which `epoch` is.
    """
    for block in pool:
        yield (block["nll"][:, None] - block["nll_target"]) / block["n_tokens"][:, None]
