"""The gradient of each example over LoRA matrices, of a whole batch from one backward pass."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from moesift.errors import UserError
from moesift.models.batches import Batch
from moesift.models.losses import response_nll_in_chunks

# Numbers of the gradients of one matrix that exist at the same time: 64 MiB in float32.
NUMBERS = 2**24

# Called with the name of a matrix, which rows of the batch, and their gradients, (b, numbers of the matrix).
Take = Callable[[str, slice, Tensor], None]


def lora_matrices(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """Return the LoRA matrices in a model by the names of their parameters.

    Raises:
        UserError: LoRA is on the head, or on something that is no linear module, such as the fused experts of a MoE.
    """
    matrices: dict[str, nn.Linear] = {}
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            if module is head or not isinstance(module, Linear):
                raise _refused(name, "is the head" if module is head else f"is {type(module).__name__}, not Linear")
            for factor in ("lora_A", "lora_B"):
                matrices[f"{name}.{factor}.default.weight"] = getattr(module, factor)["default"]
    return matrices


def each_gradient(model: PreTrainedModel, batch: Batch, take: Take) -> None:
    """Compute, for each example, the gradient of its mean loss per response token over every LoRA matrix.

    The gradient over the weight of y = W x is Σ_t ∂L/∂y_t x_tᵀ, and no two examples share a token: so the inputs and
    output gradients of one backward pass hold that of every example (Goodfellow, arXiv 1510.01799). They are never all
    in memory: each matrix is given to `take` when the backward pass reaches it.

    Args:
        model: with LoRA matrices in it, in eval mode, so without dropout.
        batch: of B examples, each with a response token that is predicted.
        take: what uses the gradients.

    Raises:
        UserError: a matrix does not read each token of the batch exactly once; or as `lora_matrices`.
    """
    seen: set[str] = set()
    embedded: list[Tensor] = []
    size, width = batch.ids.shape

    def embed(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
        embedded.append(output.requires_grad_())  # all weights may be frozen: the graph begins here

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def forward(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if name in seen or inputs[0].numel() != size * width * inputs[0].shape[-1]:
                raise _refused(name, "does not read each token once, as a shared layer or a routed expert does not")
            seen.add(name)
            read = inputs[0].detach().reshape(size, width, -1)  # (B, T, I)
            output.register_hook(lambda gradient: backward(name, read, gradient))

        return forward

    def backward(name: str, read: Tensor, gradient: Tensor) -> None:
        written = gradient.detach().reshape(size, width, -1).mT  # (B, O, T)
        step = max(1, NUMBERS // (written.shape[1] * read.shape[2]))
        for start in range(0, size, step):
            rows = slice(start, start + step)
            take(name, rows, torch.bmm(written[rows], read[rows]).flatten(1))  # (b, O, I) -> (b, O * I)

    embeddings: Any = model.get_input_embeddings()
    with contextlib.ExitStack() as hooks, torch.enable_grad():
        hooks.callback(embeddings.register_forward_hook(embed).remove)
        for name, matrix in lora_matrices(model).items():
            hooks.callback(matrix.register_forward_hook(watch(name)).remove)
        mean = response_nll_in_chunks(model, batch) / batch.predicted.sum(dim=1)  # (B,)
        torch.autograd.grad(mean.sum(), embedded)  # of the weights themselves none are computed


def _refused(name: str, why: str) -> UserError:
    return UserError(
        f"gradients.train.lora_targets: {name.split('.lora_')[0]} {why}, so no gradient of one example is known; "
        "take linear modules that every token passes once, such as q_proj, k_proj, v_proj, o_proj"
    )
