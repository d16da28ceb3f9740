"""LoRA on the target."""

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from moesift.errors import UserError


def add_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: list[str]) -> PeftModel:
    """Add LoRA matrices to the modules whose names end as `targets` say.

    Raises:
        UserError: the model has no such module.
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets, bias="none", task_type="CAUSAL_LM"
    )
    try:
        # peft keeps the matrices in float32 also on a bf16 model, where small updates would round away.
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"train.lora_targets: {targets} do not fit {type(model).__name__}: {error}") from error
