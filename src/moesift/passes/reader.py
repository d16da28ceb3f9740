"""What reads a pool: a language model in one state, with its tokenizer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from moesift.models import checkpoints
from moesift.models.batches import Batch, per_example
from moesift.models.chat import Encoded
from moesift.models.loading import load_classifier, load_model, load_tokenizer
from moesift.models.lora_checkpoints import Checkpoint, load_checkpoint
from moesift.models.routers import TrashCan
from moesift.passes.columns import PASSES

Values = Mapping[str, Sequence[Any]]  # by column, one value an example; what a pass returns


class Reader(NamedTuple):
    """A model as it came, an epoch of the warm-up with its trash-can experts, a LoRA checkpoint, or a classifier."""

    tokenizer: PreTrainedTokenizerFast
    model: PreTrainedModel
    trash_can: TrashCan | None
    lora: Checkpoint | None = None
    dimension: int = 0  # of projected gradients


class Tokenizer(NamedTuple):
    """A reader of tokens alone."""

    tokenizer: PreTrainedTokenizerFast


def load(
    model: str,
    pass_name: str,
    is_epoch: bool,
    adapter: Path | None = None,
    dimension: int = 0,
    dtype: str | None = None,
) -> Reader | Tokenizer:
    """Load what a pass is read by.

    Args:
        model: a directory or a name on the hub.
        pass_name: `tokens` needs no weights, `reward` a sequence classifier.
        is_epoch: the directory is an epoch of the warm-up, whose trash-can experts are to be attached.
        adapter: a checkpoint of the model's LoRA warm-up, to be attached.
        dimension: numbers that gradients are projected to.
        dtype: precision of a model as it came; unless given, that of its files.
    """
    if pass_name == "tokens":
        return Tokenizer(load_tokenizer(model))
    if is_epoch:
        selector = checkpoints.load(Path(model))
        return Reader(selector.tokenizer, selector.model, selector.trash_can)
    loaded, tokenizer = load_classifier(model) if pass_name == "reward" else load_model(model, dtype)
    lora = None if adapter is None else load_checkpoint(loaded, adapter)
    return Reader(tokenizer, loaded, None, lora, dimension)


def read_tensors(
    reader: Reader,
    pass_name: str,
    measure: Callable[[Batch], Sequence[Tensor]],
    examples: Sequence[Encoded],
    token_budget: int,
) -> Values:
    """Return the columns of a pass whose columns are tensors of a batch, as one array an example.

    Args:
        measure: called with each batch; returns a tensor for each column, (B, D).
    """

    def rows_of(batch: Batch) -> Iterator[tuple[np.ndarray, ...]]:
        return zip(*(column.cpu().numpy() for column in measure(batch)), strict=True)

    pad_id, device = reader.tokenizer.pad_token_id, reader.model.device
    rows = per_example(rows_of, examples, pad_id, token_budget, device, pass_name)
    names = PASSES[pass_name]
    return dict(zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True))
