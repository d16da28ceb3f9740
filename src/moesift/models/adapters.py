"""LoRA matrices on the target: added for a training, and loaded from what it saved."""

from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer, ParamWrapper
from safetensors.torch import load_file
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.loading import require_complete
from moesift.models.lora_weights import lora_weights


def add_lora(
    model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: list[str], section: str = "train"
) -> PeftModel:
    """Add LoRA matrices to the weights whose names end in one of `targets`.

    Raises:
        UserError: the targets do not fit the model, as `lora_weights` says, or peft cannot tune one of them.
    """
    weights = lora_weights(model, targets, dropout, section)
    beside = [each for each in targets if any(f".{w.module}".endswith(f".{each}") for w in weights if w.beside)]
    added = [f"{weight.module}.{weight.parameter}" for weight in weights if not weight.beside]
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=beside,
        target_parameters=added or None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        # peft keeps the matrices in float32 on a bf16 model too, where small updates would be lost to rounding.
        tuned = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"{section}.lora_targets: {targets} do not fit {type(model).__name__}: {error}") from error
    wanted = {f"{weight.module}.{weight.parameter}" for weight in weights}
    if differs := wanted ^ _tuned(tuned.get_base_model()):
        raise UserError(f"{section}.lora_targets: peft cannot tune {', '.join(sorted(differs))}; leave them out")
    return tuned


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return the model with an adapter beside its weights, as it was trained.

    It is not merged: that rounds in the weights' dtype, which in bf16 costs more than selections differ by.

    Raises:
        UserError: a file is truncated, or the adapter does not fit the model.
    """
    require_complete(folder)
    try:
        tuned = PeftModel.from_pretrained(model, folder).eval()
        saved = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: of another size
        raise UserError(f"{folder}: not a complete adapter of `train_adapter`: {error}") from error
    loaded = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    # peft only warns of matrices that it has no values for, and leaves these as they were drawn.
    if differs := saved.keys() ^ loaded.keys() or {n for n in saved if not torch.equal(saved[n], loaded[n].cpu())}:
        raise UserError(f"{folder}: is not an adapter of this target: {', '.join(sorted(differs)[:3])} differ")
    return cast(PreTrainedModel, tuned.get_base_model())


def _tuned(model: torch.nn.Module) -> set[str]:
    """Return the names of the weights that have LoRA matrices."""
    return {
        f"{name.replace('.base_layer', '')}.{layer.parameter_name if isinstance(layer, ParamWrapper) else 'weight'}"
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer)
    }
