"""What a configuration costs: floating-point operations, GPU hours and peak memory, counted from the models' shapes.

Everything here is arithmetic on numbers that `lines` prints beside its results, so that each can be checked by hand.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from moesift.config import Config
from moesift.errors import UserError
from moesift.methods import READS
from moesift.routers import expert_roles, find_routers, has_routers

GIB = 2**30
COMPUTED_IN = torch.bfloat16  # what accelerate trains in on a GPU, unless its file says otherwise
LESS_A100_HOURS = 54  # what LESS (arXiv 2402.04333) is said to take to select from its mixture of 270k examples
A100_TFLOPS = 312  # dense bf16 peak


@dataclass(frozen=True)
class Shape:
    """A model in numbers of parameters.

    Attributes:
        total: all parameters, tied ones once.
        active: those that one token meets: of E fused experts only the K that run.
        body: active without embeddings and head: what a token is multiplied with before the head.
        head: of the language-model head, tied or not.
        norms: weights of normalisations over all layers.
        hidden: width D of the residual stream.
        layers: decoder layers.
        cached: numbers that one token leaves in the key-value cache, over all layers.
        experts: E, 0 in a dense model.
        running: K, experts that run for a token.
        routed: layers with a router.
        dtype: of the stored weights.
        lora: (inputs, outputs) of each module that gets LoRA matrices.
    """

    total: int
    active: int
    body: int
    head: int
    vocabulary: int
    norms: int
    hidden: int
    layers: int
    cached: int
    experts: int
    running: int
    routed: int
    dtype: torch.dtype
    lora: tuple[tuple[int, int], ...]

    @property
    def weights(self) -> int:
        """Bytes of the weights as they are stored."""
        return self.total * self.dtype.itemsize


def shape_of(model: PreTrainedModel, lora_targets: Sequence[str]) -> Shape:
    """Return the shape of a model, which may lie on the meta device.

    Experts are told by transformers' fused parameters (E, ., .), whatever the family; what else their module holds
    (biases) counts with them. Shared experts run for every token.

    Args:
        model: made from its configuration, with the dtype that its weights are stored in.
        lora_targets: ends of names of the modules that would get LoRA matrices.

    Raises:
        UserError: a Mixture-of-Experts model whose configuration does not say how many experts run.
    """
    config = model.config.get_text_config()
    experts = running = routed = idle = 0
    if has_routers(model.config):
        routers = find_routers(model)
        routed = len(routers)
        experts = next(iter(routers.values())).get_parameter("weight").shape[0]
        running = getattr(config, "num_experts_per_tok", None) or getattr(config, "moe_k", None)
        if running is None:
            raise UserError(f"{config.model_type}: its configuration has no num_experts_per_tok")
        for module in model.modules():
            own = list(module.parameters(recurse=False))
            if any(parameter.ndim == 3 and parameter.shape[0] == experts for parameter in own):
                idle += sum(parameter.numel() for parameter in own) * (experts - running) // experts
    named = dict(model.named_parameters())  # tied parameters once
    total = sum(parameter.numel() for parameter in named.values())
    embedding = model.get_input_embeddings().get_parameter("weight")
    head = model.get_output_embeddings().get_parameter("weight")
    looked_up = embedding.numel() if head is embedding else embedding.numel() + head.numel()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Shape(
        total=total,
        active=total - idle,
        body=total - idle - looked_up,
        head=head.numel(),
        vocabulary=head.shape[0],
        norms=sum(parameter.numel() for name, parameter in named.items() if "norm" in name),
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        cached=2 * heads * width * config.num_hidden_layers,
        experts=experts,
        running=running,
        routed=routed,
        dtype=model.dtype,
        lora=tuple(
            (module.in_features, module.out_features)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name.split(".")[-1] in lora_targets
        ),
    )


@dataclass(frozen=True)
class Pool:
    """The pool: how many examples, how long for each model, and how that is known."""

    examples: int
    selector_tokens: float  # mean of an example, cut at data.max_length
    target_tokens: float
    known: str


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
        """GPU hours of all runs."""
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
    passes = sorted({reads for method in config.methods for reads in READS[method] if reads.quantity != "tokens"})
    found = []
    if any(reads.model != "selector" for reads in passes):
        examples = min(config.warmup.examples or pool.examples, pool.examples)
        twins = 2 if config.warmup.objective == "contrastive" else 1  # each example takes its twin along
        found.append(
            Work(
                "warm up",
                f"{config.warmup.epochs} epochs of {examples:,} examples" + (" and their twins" if twins == 2 else ""),
                seeds,
                config.warmup.epochs * examples * twins * pool.selector_tokens,
                frozen_training(selector),
            )
        )
    for reads in passes:
        head = reads.quantity.startswith("nats")
        found.append(
            Work(
                "score",
                f"{reads.quantity} with {reads.model}",
                1 if reads.model == "selector" else seeds,
                pool.examples * pool.selector_tokens,
                forward(selector, head),
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
            batches = math.ceil(size.questions / config.throughput.eval_batch_size)
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

    As it runs, which is without activation checkpointing; what checkpointing would keep instead (the input of each
    layer, and one layer whole) stands beside the parts under a name in brackets and does not count. Logits count for
    every position, although only those from the first response token on are made.
    """
    length, micro = config.data.max_length, config.throughput.micro_batch
    scored = max(config.throughput.score_tokens, length)

    def training(shape: Shape, itemsize: int, rows: int, kept: float) -> dict[str, float]:
        tokens = rows * length
        return {
            "activations": tokens * kept,
            # The logits themselves, in float32, their log-softmax and its gradient.
            "logits": tokens * shape.vocabulary * (itemsize + 12),
            "(activations if checkpointed)": tokens * (itemsize * shape.hidden * shape.layers + kept / shape.layers),
        }

    def passing(shape: Shape) -> dict[str, float]:
        kept = kept_per_token(shape, shape.dtype.itemsize)
        return {
            "one layer's activations": scored * kept / shape.layers,
            # The logits themselves, in float32, and their log-softmax.
            "logits": scored * shape.vocabulary * (shape.dtype.itemsize + 8),
        }

    own, trash = router_parameters(selector, config)
    rows = micro * (2 if config.warmup.objective == "contrastive" else 1)
    lora = lora_parameters(target, config.train.lora_rank)
    computed = COMPUTED_IN.itemsize
    kept = kept_per_token(target, computed) + kept_by_lora(target, config.train.lora_rank, config.train.lora_dropout)
    # Autocast copies weights of another dtype for each use, and the backward pass needs the copies.
    copies = 0 if target.dtype == COMPUTED_IN else computed * target.body
    answers = [size.prompt_tokens + size.generated_tokens for size in config.estimate.tasks if size.generated_tokens]
    return {
        "warm up": {
            "weights": selector.weights,
            # float32: weights beyond the stored ones, gradients and Adam's two moments.
            "routers": own * (16 - selector.dtype.itemsize) + trash * 16,
            **training(selector, selector.dtype.itemsize, rows, kept_per_token(selector, selector.dtype.itemsize)),
        },
        "score": {"weights": selector.weights, **passing(selector)},
        "train": {
            "weights": target.weights,
            "copies in bf16": copies,
            "LoRA": lora * 16,
            **training(target, computed, micro, kept),
        },
        "evaluate": {
            "weights": target.weights,
            **passing(target),
            "key-value cache": config.throughput.eval_batch_size
            * max(answers, default=0)
            * target.cached
            * target.dtype.itemsize,
        },
    }


def peak(parts: dict[str, float]) -> float:
    """Return the sum of the parts that count, in bytes."""
    return sum(size for name, size in parts.items() if not name.startswith("("))


def lines(config: Config, selector: Shape, target: Shape, pool: Pool) -> list[str]:
    """Return the estimate as text, with what each number was counted from."""
    found = works(config, selector, target, pool)
    assumed = config.estimate
    hours = [work.hours(assumed.peak_tflops, assumed.utilisation, assumed.decode_ms) for work in found]
    return [
        f"Estimate of {config.experiment}: counted, not measured",
        "",
        "Models, from their configurations",
        *_model_lines("selector", config.selector.model, selector),
        *_model_lines("target", config.target.model, target),
        f"  LoRA of rank {config.train.lora_rank} on {len(target.lora)} modules: "
        f"{lora_parameters(target, config.train.lora_rank):,} parameters",
        "",
        f"Pool: {pool.examples:,} examples of {pool.selector_tokens:,.1f} tokens for the selector and "
        f"{pool.target_tokens:,.1f} for the target",
        f"  {pool.known}",
        "",
        "Operations and hours",
        *_work_lines(found, hours),
        *_assumption_lines(config, selector, pool),
        "",
        *_memory_lines(config, selector, target),
        *(_beside_less(config, found, hours) if "router" in config.methods else []),
    ]


def _model_lines(role: str, name: str, shape: Shape) -> list[str]:
    experts = f": {shape.running} of {shape.experts} experts in {shape.routed} layers" if shape.experts else ""
    return [
        f"  {role} {name}: {shape.total:,} parameters, {shape.active:,} active per token{experts}",
        f"    of these {shape.body:,} in the layers and {shape.head:,} in the head; stored as {_dtype(shape.dtype)}, "
        f"{shape.weights / GIB:.2f} GiB",
    ]


def _work_lines(found: Sequence[Work], hours: Sequence[float]) -> list[str]:
    rows = [("stage", "what", "runs", "tokens a run", "GFLOP/token", "PFLOP", "GPU hours")]
    rows += [
        (
            work.stage,
            work.what,
            str(work.runs),
            f"{work.tokens:,.0f}",
            f"{work.flops_per_token / 1e9:,.4g}",
            f"{work.flops / 1e15:,.1f}",
            f"{spent:,.2f}",
        )
        for work, spent in zip(found, hours, strict=True)
    ]
    rows.append(("all", "", "", "", "", f"{sum(work.flops for work in found) / 1e15:,.1f}", f"{sum(hours):,.2f}"))
    return [
        f"  {stage:9} {what:34} {runs:>5} {tokens:>14} {each:>12} {flops:>10} {spent:>10}"
        for stage, what, runs, tokens, each, flops, spent in rows
    ]


def _assumption_lines(config: Config, selector: Shape, pool: Pool) -> list[str]:
    assumed = config.estimate
    asked = [task.name for task in config.evaluate.tasks]
    sizes = {size.name: size for size in assumed.tasks if size.name in asked}
    unsized = [name for name in asked if name not in sizes]
    quadratic = pool.selector_tokens * selector.hidden * selector.layers / selector.body
    return [
        "  forward: 2 per parameter that a token meets, with the head where a loss is measured, without embeddings",
        "  training: 4 per frozen parameter (forward, and backward to the activations), 6 per LoRA parameter;",
        "    the weight gradients of the routers are left out as negligible",
        f"  left out: padding, and attention's part that grows with length ({quadratic:.1%} of the selector's here)",
        "  a selection is taken to be as long as the pool's mean, although `length` prefers long examples",
        f"  hours: operations / ({assumed.peak_tflops:g} TFLOP/s peak x {assumed.utilisation:g} used, both assumed)",
        f"    + {assumed.decode_ms:g} ms, assumed, per token that {config.throughput.eval_batch_size} answers grow by;",
        "    loading models and starting jobs are not counted",
        *(
            f"  {name}, roughly: {size.questions:,} questions of {size.prompt_tokens} tokens, answers of "
            f"{size.generated_tokens}"
            for name, size in sizes.items()
        ),
        *([f"  not counted, no size in estimate.tasks: {', '.join(unsized)}"] if unsized else []),
    ]


def _memory_lines(config: Config, selector: Shape, target: Shape) -> list[str]:
    length, available = config.data.max_length, config.estimate.memory_gib
    found = [
        f"Peak memory of one GPU in GiB: training on {config.throughput.micro_batch} examples of {length:,} tokens, "
        f"scoring {max(config.throughput.score_tokens, length):,} tokens"
    ]
    for stage, parts in memory(config, selector, target).items():
        total = peak(parts) / GIB
        shown = [f"{size / GIB:.2f} {name}" for name, size in parts.items() if size and not name.startswith("(")]
        beside = [f" ({size / GIB:.2f} {name[1:]}" for name, size in parts.items() if name.startswith("(")]
        more = f", MORE THAN THE {available:g} THERE ARE," if total > available else ""
        found.append(f"  {stage:9} {total:8.2f}{more} = {' + '.join(shown)}{''.join(beside)}")
    kept = [
        kept_per_token(selector, selector.dtype.itemsize),
        kept_per_token(target, COMPUTED_IN.itemsize),
        kept_by_lora(target, config.train.lora_rank, config.train.lora_dropout),
    ]
    selected, tuned, lora = (f"{size / 1024:,.1f} KiB" for size in kept)
    return [
        *found,
        f"  activations of a token: {selected} in the selector, {tuned} in the target, {lora} for its LoRA matrices:",
        "    a number for each D parameters of the layers (D: width), the input of each normalisation in float32, and",
        "    of each routed layer the router's input in float32 and the experts' outputs; scoring keeps one layer's",
        "  logits, at every position: as computed, in float32, their log-softmax, and in training its gradient",
        "  as it runs, without activation checkpointing; in brackets what that would keep. Allocators add 10% or more",
    ]


def _beside_less(config: Config, found: Sequence[Work], hours: Sequence[float]) -> list[str]:
    own = {"warm up", "signals with last"}
    selecting = sum(spent for work, spent in zip(found, hours, strict=True) if {work.stage, work.what} & own)
    less = LESS_A100_HOURS * A100_TFLOPS / config.estimate.peak_tflops
    return [
        "",
        f"Selecting by `router`, one seed: {selecting / len(config.seeds):.2f} GPU hours (the warm-up and one pass)",
        f"  LESS is said to take {LESS_A100_HOURS} A100 hours for 270k examples: {less:.1f} on this GPU, if both reach",
        f"  the same share of their peaks ({A100_TFLOPS} TFLOP/s for an A100), which small experts may well not",
    ]


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
