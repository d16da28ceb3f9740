"""What a training trains and saves of the target, by `train.method`: LoRA matrices on it, or all of its weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from moesift.config import Train
from moesift.errors import UserError
from moesift.models.adapters import add_lora, load_adapter
from moesift.models.loading import load_model

ONE_FILE = 2**62  # bytes: the workflow declares the files of a training before it knows their sizes


class Tuning(NamedTuple):
    """A target that is ready to be trained."""

    model: nn.Module  # what requires gradients is trained, in float32
    save: Callable[[Any, Mapping[str, Tensor], Path], None]  # the trained model, its gathered weights, the folder


def lora(target: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, train: Train) -> Tuning:
    """Add LoRA matrices to the target, which alone are trained and saved.

    Raises:
        UserError: they do not fit it, as `add_lora` says.
    """

    def save(trained: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
        # No copy of an embedding that has LoRA matrices: it is the target's own.
        trained.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
        (folder / "README.md").unlink()  # peft's empty template; the stage `cards` writes the card

    return Tuning(add_lora(target, train.lora_rank, train.lora_alpha, train.lora_dropout, train.lora_targets), save)


def full(target: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, train: Train) -> Tuning:
    """Train all weights of the target; what is saved is a model with its tokenizer.

    They are trained in float32, since small updates of weights in bf16 would be lost to rounding, and saved in float32,
    since rounding them afterwards would change what is evaluated.
    """
    names = [name for name, _ in (*target.named_parameters(), *target.named_buffers())]  # tied ones once

    def save(trained: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
        whole = {name: weights[name].float() for name in names if name in weights}
        trained.save_pretrained(folder, state_dict=whole, max_shard_size=ONE_FILE)
        tokenizer.save_pretrained(folder)

    return Tuning(target.requires_grad_().float(), save)


TUNINGS: Mapping[str, Callable[[PreTrainedModel, PreTrainedTokenizerFast, Train], Tuning]] = {
    "lora": lora,
    "full": full,
}


def require_tunable(config: PreTrainedConfig) -> None:
    """Check that all weights of a target can be trained.

    Raises:
        UserError: they are quantized.
    """
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(
            "train.method: full trains all weights, and those of target.model are quantized; take weights that are "
            "not, or lora"
        )


def load_tuned(
    model: str, folder: Path, method: str, dtype: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return the target as a training left it, with its tokenizer: with an adapter beside its weights, or its own.

    Raises:
        UserError: a file is missing or truncated, or an adapter does not fit the target.
    """
    if method == "full":
        return load_model(str(folder))
    target, tokenizer = load_model(model, dtype)
    return load_adapter(target, folder), tokenizer
