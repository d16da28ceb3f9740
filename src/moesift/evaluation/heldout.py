"""The loss on held-out examples."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from transformers import PreTrainedModel

from moesift.models import losses
from moesift.models.chat import Encoded


def heldout_losses(model: PreTrainedModel, examples: Sequence[Encoded], pad_id: int, token_budget: int) -> pl.DataFrame:
    """Return for each example `nll`, summed over its response tokens, in nats, and `tokens`, their number."""
    nll = losses.nll(model, pad_id, examples, token_budget)
    tokens = [example.predicted for example in examples]
    return pl.DataFrame({"nll": nll, "tokens": tokens}, schema={"nll": pl.Float64, "tokens": pl.Int64})


def heldout_loss(by_example: pl.DataFrame) -> dict[str, float]:
    """Return the mean loss per response token, in nats, with its standard error, and what it is the mean of.

    The error is that of a ratio of sums over examples, since examples are independent and their tokens are not.

    Args:
        by_example: the frame of `heldout_losses`.
    """
    nll, tokens = by_example["nll"].to_numpy(), by_example["tokens"].to_numpy()  # (examples,)
    mean = nll.sum() / tokens.sum()
    stderr = np.linalg.norm(nll - mean * tokens) / tokens.sum()
    return {"nll": float(mean), "stderr": float(stderr), "tokens": int(tokens.sum()), "examples": by_example.height}
