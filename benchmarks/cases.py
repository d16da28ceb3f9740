"""The cases: what moesift runs, what the plain code runs on the same input, and how far their results are apart."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch

from benchmarks import given, plain
from moesift.check.costs import forward
from moesift.models import sketch
from moesift.models.adapters import add_lora
from moesift.models.batches import micro_batches, micro_batches_by_tokens
from moesift.models.chat import Encoded, encode
from moesift.models.experts import suit_device
from moesift.models.lora_checkpoints import Checkpoint
from moesift.models.routers import freeze_all_but
from moesift.models.shapes import shape_of
from moesift.passes import gradients as gradient_pass
from moesift.passes import representation, representation_middle, routing
from moesift.passes.reader import Reader
from moesift.training import loop, warmup

BATCH = 16  # examples of a batch of the plain code, and of an optimizer step of the warm-up and the training
MICRO_BATCH = 4
LONGEST = 1024  # tokens
DIMENSION = 8192  # of projected gradients


class Case(NamedTuple):
    """The two programs to compare, on one input."""

    ours: Callable[[], object]
    plain: Callable[[], object]
    apart: Callable[[], float]  # the largest difference between their results, of gradients relative to their norm
    tokens: int  # of a round, without padding
    flops: float  # floating-point operations that a round needs at least; 0 if that does not matter


def scoring(full_size: bool) -> Case:
    """Score examples by the routers: log odds by layer, means over the response."""
    return _scoring(full_size, given.examples(2048 if full_size else 96, LONGEST))


def scoring_512(full_size: bool) -> Case:
    """Score examples of 512 tokens each: how near a GPU comes to its best where nothing is padding."""
    return _scoring(full_size, given.examples(1024 if full_size else 16, 512, shortest=512))


def _scoring(full_size: bool, examples: Sequence[Encoded]) -> Case:
    selector = given.selector(full_size)
    shape = shape_of(selector.model)
    tokens = sum(len(example.ids) for example in examples)
    experts = selector.model.config._experts_implementation
    reader = Reader(selector.tokenizer, selector.model, selector.trash_can)

    def ours() -> list[list[float]]:
        suit_device(selector.model)  # as in `load_model`
        return [list(odds) for odds in routing.read(reader, examples, token_budget=0)["log_odds"]]

    def theirs() -> list[list[float]]:
        selector.model.set_experts_implementation(experts)
        return plain.scores(selector, examples, BATCH)

    def apart() -> float:
        return (torch.tensor(ours()) - torch.tensor(theirs())).abs().max().item()

    # The experts of the last layer do not run.
    return Case(ours, theirs, apart, tokens, tokens * forward(shape, head=False) * (shape.layers - 1) / shape.layers)


def representations(full_size: bool, module: ModuleType, batch_size: int) -> Case:
    """Pool hidden states: of the last layer, or of what the middle layer's feed-forward block reads."""
    examples = given.examples(512 if full_size else 96, LONGEST)
    model = given.selector(full_size).model
    reader = Reader(given.selector().tokenizer, model, None)
    experts = model.config._experts_implementation

    def ours() -> torch.Tensor:
        suit_device(model)
        return torch.tensor(np.array(module.read(reader, examples, token_budget=0)["weighted"])).float()

    def theirs() -> torch.Tensor:
        model.set_experts_implementation(experts)
        return plain.representations(model, examples, batch_size, middle=module is representation_middle).cpu()

    def apart() -> float:  # by their cosine: float16, in which a pass writes them, moves single numbers by up to 1e-4
        return (1 - (ours() * theirs()).sum(dim=1)).abs().max().item()

    shape, tokens = shape_of(model), sum(len(example.ids) for example in examples)
    share = 0.5 if module is representation_middle else 1
    return Case(ours, theirs, apart, tokens, tokens * forward(shape, head=False) * share)


def warmup_step(full_size: bool, dtype: torch.dtype | None = None) -> Case:
    """Make the gradients of optimizer steps of the budget warm-up."""
    selector = given.selector(full_size, dtype)
    freeze_all_but(selector.model, selector.trash_can.parameters())
    examples, micro_batch = _of_steps(full_size)
    lengths = [len(example.ids) for example in examples]
    layers = len(selector.trash_can.routers)
    shape = shape_of(selector.model)
    predicted = sum(example.predicted for example in examples)
    experts = selector.model.config._experts_implementation

    def ours() -> tuple[float, torch.Tensor]:
        suit_device(selector.model)
        divided = micro_batches_by_tokens(range(len(examples)), lengths, micro_batch, process=0, processes=1)
        parts = [[examples[index] for index in part] for part in divided]
        losses, shares = warmup.accumulate_nll(selector, examples, parts, 0.01, torch.ones(layers))
        return losses["nll"], shares

    def theirs() -> tuple[float, torch.Tensor]:
        selector.model.set_experts_implementation(experts)
        return plain.warmup_step(selector, examples, micro_batch, 0.01, 1.0)

    def gradients(step: Callable[[], tuple[float, torch.Tensor]]) -> tuple[float, torch.Tensor, list[torch.Tensor]]:
        selector.model.zero_grad()
        nll, shares = step()
        return nll, shares, [parameter.grad for parameter in selector.trash_can.parameters().values()]

    def apart() -> float:
        (nll, shares, gradient), (other_nll, other_shares, other) = gradients(ours), gradients(theirs)
        differences = [((a - b).norm() / b.norm()).item() for a, b in zip(gradient, other, strict=True)]
        return max(abs(nll - other_nll), (shares - other_shares).abs().max().item(), *differences)

    # Forward, and backward to the activations only: frozen weights get no gradients. The head runs on response tokens.
    flops = 2 * (sum(lengths) * forward(shape, head=False) + predicted * 2 * shape.head)
    return Case(ours, theirs, apart, sum(lengths), flops)


def training_step(full_size: bool) -> Case:
    """Make the gradients of an epoch of LoRA, on a dense target; on a GPU by autocast, as accelerate does it there."""
    model = add_lora(given.target(full_size), 16, 32, 0.0, ["q_proj", "k_proj", "v_proj", "o_proj"])
    examples, micro_batch = _of_steps(full_size)
    lengths = [len(example.ids) for example in examples]
    predicted = sum(example.predicted for example in examples)
    shape = shape_of(model.get_base_model())

    def ours() -> float:
        nll = 0.0
        for start in range(0, len(examples), BATCH):
            for part in micro_batches(range(start, start + BATCH), lengths, micro_batch, process=0, processes=1):
                batch = [examples[index] for index in part]
                with torch.autocast(model.device.type, torch.bfloat16, enabled=full_size):
                    loss = loop.summed_nll(model, batch, given.PAD, model.device) / predicted
                loss.backward()
                nll += loss.item()
        return nll

    def theirs() -> float:
        return plain.training_step(model, examples, micro_batch)

    def apart() -> float:
        return abs(ours() - theirs())

    flops = 2 * (sum(lengths) * forward(shape, head=False) + predicted * 2 * shape.head)
    return Case(ours, theirs, apart, sum(lengths), flops)


def _of_steps(full_size: bool) -> tuple[list[Encoded], int]:
    """Return the examples of four optimizer steps, and how many make a micro-batch; on a GPU all have 512 tokens."""
    if full_size:
        return given.examples(4 * BATCH, 512, shortest=512), BATCH
    return given.examples(4 * BATCH, LONGEST), MICRO_BATCH


def gradients(full_size: bool) -> Case:
    """Project the gradient of each example over LoRA matrices, and the step of Adam for it."""
    model = given.target(full_size)
    add_lora(model, 128, 512, 0.1, ["q_proj", "k_proj", "v_proj", "o_proj"]).eval()
    examples = given.examples(256 if full_size else 32, LONGEST)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    torch.manual_seed(0)
    moments = {}
    for name in names:
        matrix = model.get_parameter(name)
        torch.nn.init.normal_(matrix, std=0.02)  # as one factor is zero before a training
        moments[name] = (torch.randn_like(matrix) * 1e-4, torch.rand_like(matrix) * 1e-8)
    sizes = {name: model.get_parameter(name).numel() for name in names}
    reader = Reader(given.selector().tokenizer, model, None, Checkpoint(moments, 1.0), DIMENSION)
    together = [torch.cat([moments[name][which].flatten() for name in names]).detach() for which in (0, 1)]
    places = torch.cat([sketch.places(name, sizes[name], DIMENSION, model.device) for name in names]).long()

    def ours() -> torch.Tensor:
        values = gradient_pass.read(reader, examples, token_budget=0)
        return torch.tensor(np.stack([values["gradient"], values["adam"]], axis=1)).float()

    def theirs() -> torch.Tensor:
        return plain.gradients(model, examples, (together[0], together[1]), places, DIMENSION).detach().cpu()

    def apart() -> float:
        return (ours() - theirs()).abs().max().item()

    tokens, shape = sum(len(example.ids) for example in examples), shape_of(model)
    predicted = sum(example.predicted for example in examples)
    return Case(ours, theirs, apart, tokens, 2 * (tokens * forward(shape, head=False) + predicted * 2 * shape.head))


def tokenising(full_size: bool) -> Case:
    """Tokenise conversations and mark the tokens of the responses."""
    tokenizer = given.tokenizer()
    conversations = given.conversations(20_000 if full_size else 2000)

    def ours() -> list[tuple[list[int], list[bool]]]:
        return [(example.ids, example.response) for example in encode(conversations, tokenizer, LONGEST)]

    def theirs() -> list[tuple[list[int], list[bool]]]:
        return plain.tokens(conversations, tokenizer, LONGEST)

    def apart() -> float:
        return float(ours() != theirs())

    return Case(ours, theirs, apart, sum(len(ids) for ids, _ in ours()), 0)


CASES: dict[str, Callable[[bool], Case]] = {
    "scoring": scoring,
    "scoring_512": scoring_512,
    # One example after the other, as the published code of RDS+ reads them; and in padded batches.
    "representation": lambda full_size: representations(full_size, representation, 1),
    "representation_middle": lambda full_size: representations(full_size, representation_middle, 1),
    "representation_padded": lambda full_size: representations(full_size, representation_middle, BATCH),
    "warmup_step": warmup_step,
    "training_step": training_step,
    "gradients": gradients,
    "tokenising": tokenising,
}
DEFAULT = tuple(name for name in CASES if name != "scoring_512")  # which is for a GPU, with --full-size
