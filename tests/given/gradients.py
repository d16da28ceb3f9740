"""LoRA on tiny models, and the gradients of one example at a time by transformers' own loss and autograd."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from moesift.models.adapters import add_lora
from moesift.models.chat import Encoded

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj"]


def with_lora(model: PreTrainedModel, targets: list[str] = TARGETS) -> PreTrainedModel:
    """Put LoRA matrices of rank 4 into a model, none of them zero as they are before a training."""
    torch.manual_seed(0)
    add_lora(model, 4, 8, 0.5, targets).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def alone(model: PreTrainedModel, example: Encoded) -> dict[str, Tensor]:
    """Return the gradient of the mean loss of one example's response over each LoRA matrix, by its name."""
    ids, response = torch.tensor([example.ids]), torch.tensor([example.response])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    model.zero_grad()
    model(ids, labels=ids.masked_fill(~response, -100)).loss.backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    return found
