"""LoRA matrices on the target."""

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from moesift.errors import UserError


def add_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: list[str]) -> PeftModel:
    """Add LoRA matrices to the modules whose names end in one of `targets`.

    Raises:
        UserError: the model has no such module.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none", task_type="CAUSAL_LM"
    )
    try:
        # peft keeps the matrices in float32 on a bf16 model too, where small updates would be lost to rounding.
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"train.lora_targets: {targets} do not fit {type(model).__name__}: {error}") from error
