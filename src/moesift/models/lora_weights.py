"""Which weights of a model get LoRA matrices, by the names of `train.lora_targets`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from moesift.errors import UserError
from moesift.models.routers import find_routers, has_routers

# transformers' fused weights of all experts of a layer, (E, ., .), with the names of the maps that they are made of.
FUSED = {"gate_up_proj": ("gate_proj", "up_proj"), "up_proj": (), "down_proj": ()}


class LoraWeight(NamedTuple):
    """A weight that gets LoRA matrices."""

    module: str
    parameter: str  # of the module
    inputs: int
    outputs: int
    experts: int  # E of a fused weight, each of which has matrices of its own; else 1
    beside: bool  # whether the matrices stand beside the module; else their product is added to the weight


def lora_weights(
    model: PreTrainedModel, targets: Sequence[str], dropout: float, section: str = "train"
) -> list[LoraWeight]:
    """Return the weights whose names end in one of `targets`: of linear maps, embeddings and routed experts.

    Args:
        model: may be on the meta device.
        targets: ends of module names; `gate_proj` and `up_proj` together stand for the experts' `gate_up_proj`.
        dropout: on the input of the matrices, which those of a weight have not.
        section: of the configuration, for errors.

    Raises:
        UserError: a target fits nothing or a part of a fused weight, names a weight that is shared with another module,
            or a weight is to have dropout.
    """
    found = _tunable(model)
    names = {weight: _names(weight) for weight in found}
    family = type(model).__name__
    if unknown := [each for each in targets if not any(_fits(name, each) for of in names.values() for name in of)]:
        there = dict.fromkeys(name.rpartition(".")[2] for of in names.values() for name in of)
        raise UserError(
            f"{section}.lora_targets: the model has no module called {', '.join(unknown)} that LoRA can tune; "
            f"{family} has {', '.join(there)}"
        )
    chosen = [weight for weight in found if any(_fits(name, each) for name in names[weight] for each in targets)]
    for weight in chosen:
        whole, *parts = names[weight]
        asked = [part for part in parts if any(_fits(part, each) for each in targets)]
        if asked and len(asked) < len(parts) and not any(_fits(whole, each) for each in targets):
            raise UserError(
                f"{section}.lora_targets: {asked[0]} is a half of the one weight {whole} of {family}; name both of "
                f"{' and '.join(FUSED[weight.parameter])}, or neither"
            )
    tensors = dict(model.named_parameters(remove_duplicate=False))
    for weight in chosen:
        tensor = tensors[(tied := f"{weight.module}.{weight.parameter}")]
        if others := [name for name, other in tensors.items() if other is tensor and name != tied]:
            raise UserError(
                f"{section}.lora_targets: {weight.module} is tied to {', '.join(others)} in {family}, so what is tuned "
                "in one of them would be merged into both; leave it out"
            )
    if dropout and (
        added := sorted({name.rpartition(".")[2] for each in chosen if not each.beside for name in names[each]})
    ):
        raise UserError(
            f"{section}.lora_dropout: {dropout:g} cannot be applied to {', '.join(added)} of {family}, where LoRA is "
            "added to the weights of the experts; set it to 0, or leave these out of lora_targets"
        )
    return chosen


def _tunable(model: PreTrainedModel) -> list[LoraWeight]:
    routers = list(find_routers(model).values()) if has_routers(model.config) else []
    found = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Embedding, Conv1D)) and module not in routers:
            outputs, inputs = _shape(module.get_parameter("weight"))
            sizes = (inputs, outputs) if isinstance(module, nn.Linear) else (outputs, inputs)
            found.append(LoraWeight(name, "weight", *sizes, experts=1, beside=True))
        for key, parameter in module.named_parameters(recurse=False):
            if key in FUSED and len(shape := _shape(parameter)) == 3:
                number, outputs, inputs = shape
                sizes = (outputs, inputs) if getattr(module, "is_transposed", False) else (inputs, outputs)
                found.append(LoraWeight(name, key, *sizes, experts=number, beside=False))
    if all(weight.beside for weight in found):
        return found
    # peft takes a module of a MoE that is called like a part of its experts for these, so such a module is given to it
    # as a weight too: the first layers of DeepSeek, and shared experts.
    parts = {part for whole, parts in FUSED.items() for part in (whole, *parts)}
    return [weight._replace(beside=weight.module.rpartition(".")[2] not in parts and weight.beside) for weight in found]


def _shape(weight: Tensor) -> torch.Size:
    return getattr(weight, "ds_shape", weight.shape)  # ZeRO-3 has spread it over the processes


def _names(weight: LoraWeight) -> list[str]:
    """Return what a weight may be called: a module by its name, a fused weight by its own and those of its parts."""
    if weight.parameter == "weight":
        return [weight.module]
    return [f"{weight.module}.{name}" for name in (weight.parameter, *FUSED[weight.parameter])]


def _fits(name: str, target: str) -> bool:
    return f".{name}".endswith(f".{target}")
