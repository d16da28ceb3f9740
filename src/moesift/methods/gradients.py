"""Methods of gradients over LoRA matrices: which examples would move the model as the queries of a target would."""

from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from moesift.fields import Unique
from moesift.methods.declaration import Block, Blocks, Column, method

Epochs = Annotated[tuple[PositiveInt, ...], Field(min_length=1), Unique]  # of the LoRA warm-up, from 1


def _less_reads(parameters: Any) -> dict[str, Column]:
    return {
        f"{name}_{epoch}": Column("gradients", name, f"lora-{epoch}")
        for epoch in parameters.epochs
        for name in ("gradient", "adam", "learning_rate")
    }


@method(
    targeted=True,
    reads=_less_reads,
    caption="what a step of Adam on it would lower the loss of the queries by",
    source="arXiv 2402.04333",
    aggregate="mean",
)
def less(pool: Blocks, queries: Block, *, epochs: Epochs = (1, 2, 3, 4)) -> Iterator[Any]:
    """Return Σ_c w_c <Γ_c(d), g_c(v)> of examples d and queries v over the checkpoints c, (B, V).

    Γ is the step of Adam for the example and g the gradient of the query, both projected and of length 1. The weight is
    the mean learning rate of the checkpoint's epoch, as a share of the sum, as in the published code of LESS. So is the
    default `aggregate`.
    """
    # The same number for all queries, but nan for one without a response.
    rates = {epoch: queries[f"learning_rate_{epoch}"].nanmedian().item() for epoch in epochs}
    wanted = {epoch: queries[f"gradient_{epoch}"] * rate / sum(rates.values()) for epoch, rate in rates.items()}
    for block in pool:
        yield reduce(add, (block[f"adam_{epoch}"] @ gradients.T for epoch, gradients in wanted.items()))


@method(
    targeted=True,
    reads=lambda parameters: {"gradient": Column("gradients", "gradient", f"lora-{parameters.epoch}")},
    caption="the direction of its gradient among those that the queries have in common",
    source="arXiv 2602.18584",
    aggregate="mean",
)
def gist(pool: Blocks, queries: Block, *, epoch: PositiveInt = 1, rank: PositiveInt = 150) -> Iterator[Any]:
    """Return the cosine of the gradients of examples and queries in the subspace of the queries' target, (B, V).

    The subspace is that of the first `rank` right singular vectors of the gradients of a target's queries, fewer where
    these span less. A query without a gradient has no similarities.
    """
    import torch

    owners, wanted = queries["target"], queries["gradient"]  # (V,), (V, D)
    usable = wanted.isfinite().all(dim=1)  # (V,)
    subspaces = []
    for target in owners[usable].unique():
        of_target = (usable & (owners == target)).nonzero().squeeze(1)  # (v,)
        _, sizes, directions = torch.linalg.svd(wanted[of_target], full_matrices=False)
        spanned = sizes > sizes[0] * max(wanted[of_target].shape) * torch.finfo(sizes.dtype).eps
        subspaces.append((of_target, directions[spanned][:rank]))  # (v,), (r, D)
    for block in pool:
        similarity = wanted.new_full((len(block["gradient"]), len(wanted)), torch.nan)  # (B, V)
        for of_target, basis in subspaces:
            inside, sought = block["gradient"] @ basis.T, wanted[of_target] @ basis.T  # (B, r), (v, r)
            similarity[:, of_target] = inside @ sought.T / (inside.norm(dim=1)[:, None] * sought.norm(dim=1))
        yield similarity
