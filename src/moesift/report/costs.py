"""What a configuration costs: floating-point operations, GPU hours and peak memory, counted from the models' shapes."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from moesift.config import Config, Throughput
from moesift.models.batches import TOKENS
from moesift.models.routers import expert_roles
from moesift.models.shapes import Shape
from moesift.scoring.measurements import by_pass, what_is_read
from moesift.models.losses import CHUNK

COMPUTED_IN = torch.bfloat16  # what accelerate trains in on a GPU, unless its file says otherwise


@dataclass(frozen=True)
class Pool:
    """The pool: how many examples, how long for each model, and how that is known."""

    examples: int
    selector_tokens: float  # mean of an example, cut at data.max_length
    target_tokens: float
    bytes: float  # of an example in a parquet
    known: str


@dataclass(frozen=True)
class Hardware:
    """What computes: how fast it multiplies matrices, how that is known, what it is, and its memory in bytes."""

    tflops: float
    known: Literal["measured", "assumed"]
    name: Literal["GPU", "CPU"]
    memory: float | None


@dataclass(frozen=True)
class Work:
    """Jobs of one kind: how often, over how many tokens each, and what a token costs."""

    stage: str
    what: str
    runs: int
    tokens: float
    flops_per_token: float
    decode_steps: int = 0  # batches times answer tokens: bound by memory and launches, not by operations

    @property
    def flops(self) -> float:
        """Floating-point operations of all runs."""
        return self.runs * self.tokens * self.flops_per_token

    def hours(self, peak_tflops: float, utilisation: float, decode_ms: float) -> float:
        """Hours of all runs, on one GPU or CPU of this peak."""
        computing = self.flops / (peak_tflops * 1e12 * utilisation)  # seconds
        decoding = self.runs * self.decode_steps * decode_ms / 1e3
        return (computing + decoding) / 3600


def forward(shape: Shape, head: bool) -> int:
    """Return the operations of a token's forward pass: 2 (multiply, add) per parameter that it meets."""
    return 2 * (shape.body + (shape.head if head else 0))


def frozen_training(shape: Shape) -> int:
    """Return the operations of a token's forward and backward pass through frozen weights.

    4 per parameter: the backward pass computes the gradients of the activations, in as many operations as the forward
    pass, but none of the weights.
    """
    return 2 * forward(shape, head=True)


def lora_parameters(shape: Shape, rank: int) -> int:
    """Return the parameters of the LoRA matrices, rank * (inputs + outputs) each."""
    return sum(rank * (inputs + outputs) for inputs, outputs in shape.lora)


def router_parameters(shape: Shape, config: Config) -> tuple[int, int]:
    """Return the parameters of all routers: those the model has, and those of the appended trash-can experts."""
    own = shape.routed * shape.experts * shape.hidden
    if config.warmup.expert_role == "partition":
        return own, 0
    trash = len(expert_roles(shape.experts, config.warmup.trash_ratio, config.warmup.expert_role).trash)
    return own, shape.routed * trash * shape.hidden


def works(config: Config, selector: Shape, target: Shape, pool: Pool) -> list[Work]:
    """Return what there is to compute, in the order of the stages. Padding is not counted, nor attention's T^2."""
    seeds = len(config.seeds)
    passes = by_pass(what_is_read(config.methods, config.select.diversity is not None))
    found = []
    if any(reads.model != "selector" for reads, *_ in passes):
        examples = min(config.warmup.examples or pool.examples, pool.examples)
        contrastive = config.warmup.objective == "contrastive"
        negatives = 2 if contrastive else 1  # each example takes its negative along
        found.append(
            Work(
                "warm up",
                f"{config.warmup.epochs} epochs of {examples:,} examples" + (" and their negatives" if negatives == 2 else ""),
                seeds,
                config.warmup.epochs * examples * negatives * pool.selector_tokens,
                # The contrast needs no gradient of the model, and no logits.
                forward(selector, head=False) if contrastive else frozen_training(selector),
            )
        )
    for together in passes:
        quantities, model = [reads.quantity for reads in together], together[0].model
        found.append(
            Work(
                "score",
                f"{', '.join(quantities)} with {model}",
                1 if model == "selector" else seeds,
                pool.examples * pool.selector_tokens,
                forward(selector, head=any(name.startswith("nats") for name in quantities)),
            )
        )
    runs = len(config.methods) * seeds
    for ratio in config.select.ratio:
        found.append(
            Work(
                "train",
                f"{config.train.epochs} epochs of {ratio:g} of the pool",
                runs,
                config.train.epochs * round(ratio * pool.examples) * pool.target_tokens,
                frozen_training(target) + 6 * lora_parameters(target, config.train.lora_rank),
            )
        )
    evaluated = runs * len(config.select.ratio) + 1  # and the untuned target
    found.append(
        Work("evaluate", "held-out loss", evaluated, config.data.heldout * pool.target_tokens, forward(target, True))
    )
    sizes = {size.name: size for size in config.estimate.tasks}
    for task in config.evaluate.tasks:
        if task.name in sizes:
            size = sizes[task.name]
            batches = math.ceil(size.questions / answered_at_once(config.throughput))
            found.append(
                Work(
                    "evaluate",
                    f"{task.name}, roughly",
                    evaluated,
                    size.questions * size.prompt_tokens,
                    forward(target, head=True),
                    batches * size.generated_tokens,
                )
            )
    return found


def answered_at_once(throughput: Throughput) -> int:
    """Return how many requests lm-eval answers at once: where it finds that itself, the most that it tries."""
    return 64 if throughput.eval_batch_size == "auto" else throughput.eval_batch_size


def kept_per_token(shape: Shape, itemsize: int) -> float:
    """Return the bytes of activations that a token keeps for the backward pass, over all layers, weights frozen.

    A linear map with frozen weights keeps nothing; what is kept are the queries, keys, values and outputs of attention
    and, of a gated block, gate, activated gate and up: each of them one number for D of the active parameters. A
    normalisation keeps its input in float32. A routed layer keeps the router's input and four vectors of E in float32,
    and the K outputs of the experts, which the routers' weights multiply.
    """
    routed = shape.routed * (shape.running * shape.hidden * itemsize + 4 * shape.hidden + 16 * shape.experts)
    return itemsize * (shape.body - shape.norms) / shape.hidden + 4 * shape.norms + routed


def kept_by_lora(shape: Shape, rank: int, dropout: float) -> int:
    """Return the bytes that the LoRA matrices add to that: input and inner vector in 2 bytes, a byte of mask each."""
    return sum((2 + (dropout > 0)) * inputs + 2 * rank for inputs, _ in shape.lora)


def memory(config: Config, selector: Shape, target: Shape) -> dict[str, dict[str, float]]:
    """Return the bytes of one GPU that each stage needs at its peak, part by part, for examples of `data.max_length`.

    What activation checkpointing would keep instead (the input of each layer, and one layer whole) stands beside the
    parts under a name in brackets and does not count, unless `throughput.activations` asks for it. Where the head is
    trained through, logits count for every position, although only those from the first response token on are made;
    elsewhere they are made in chunks.
    """
    length, micro = config.data.max_length, config.throughput.micro_batch
    scored = max(config.throughput.score_tokens or TOKENS["cuda"], length)

    def training(shape: Shape, itemsize: int, kept: float, with_logits: int) -> dict[str, float]:
        tokens = micro * length
        checkpointed = tokens * (itemsize * shape.hidden * shape.layers + kept / shape.layers)
        activations = {"activations": tokens * kept, "(activations if checkpointed)": checkpointed}
        return {
            **(
                {"activations, checkpointed": checkpointed}
                if config.throughput.activations == "recompute"
                else activations
            ),
            # The logits themselves, in float32, their log-softmax and its gradient.
            "logits": min(with_logits, tokens) * shape.vocabulary * (itemsize + 12),
        }

    def passing(shape: Shape) -> dict[str, float]:
        kept = kept_per_token(shape, shape.dtype.itemsize)
        return {
            "one layer's activations": scored * kept / shape.layers,
            # The logits themselves, in float32, and their log-softmax.
            "logits": min(CHUNK, scored) * shape.vocabulary * (shape.dtype.itemsize + 8),
        }

    own, trash = router_parameters(selector, config)
    warming: dict[str, float] = {
        # float32: weights beyond the stored ones, gradients and Adam's two moments.
        "routers": own * (16 - selector.dtype.itemsize) + trash * 16,
        **training(selector, selector.dtype.itemsize, kept_per_token(selector, selector.dtype.itemsize), CHUNK),
    }
    if config.warmup.objective == "contrastive":
        pairs = 2 * micro * length
        warming = {
            "routers": own * (4 - selector.dtype.itemsize) + trash * 16,
            "one layer's activations": pairs * kept_per_token(selector, selector.dtype.itemsize) / selector.layers,
            "inputs of the routers": pairs * selector.routed * selector.hidden * 4,
        }
    lora = lora_parameters(target, config.train.lora_rank)
    computed = COMPUTED_IN.itemsize
    kept = kept_per_token(target, computed) + kept_by_lora(target, config.train.lora_rank, config.train.lora_dropout)
    # Autocast copies weights of another dtype for each use, and the backward pass needs the copies.
    copies = 0 if target.dtype == COMPUTED_IN else computed * target.body
    answers = [size.prompt_tokens + size.generated_tokens for size in config.estimate.tasks if size.generated_tokens]
    return {
        "warm up": {
            "weights": selector.weights,
            **warming,
        },
        "score": {"weights": selector.weights, **passing(selector)},
        "train": {
            "weights": target.weights,
            "copies in bf16": copies,
            "LoRA": lora * 16,
            **training(target, computed, kept, micro * length),
        },
        "evaluate": {
            "weights": target.weights,
            **passing(target),
            "key-value cache": answered_at_once(config.throughput)
            * max(answers, default=0)
            * target.cached
            * target.dtype.itemsize,
        },
    }


def peak(parts: dict[str, float]) -> float:
    """Return the sum of the parts that count, in bytes."""
    return sum(size for name, size in parts.items() if not name.startswith("("))
