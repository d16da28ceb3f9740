"""The costs as text: every number of `costs` with what it was counted from, so that each can be checked by hand."""

from collections.abc import Sequence

import torch

from moesift.config import Config
from moesift.models.batches import TOKENS
from moesift.models.shapes import Shape
from moesift.report.costs import (
    COMPUTED_IN,
    Hardware,
    Pool,
    Work,
    answered_at_once,
    kept_by_lora,
    kept_per_token,
    lora_parameters,
    memory,
    peak,
    works,
)
from moesift.models.losses import CHUNK

GIB = 2**30
LESS_A100_HOURS = 54  # what LESS (arXiv 2402.04333) is said to take to select from its mixture of 270k examples
A100_TFLOPS = 312  # dense bf16 peak


def lines(config: Config, selector: Shape, target: Shape, pool: Pool, hardware: Hardware) -> list[str]:
    """Return the costs as text, with what each number was counted from."""
    found = works(config, selector, target, pool)
    assumed = config.estimate
    hours = [work.hours(hardware.tflops, assumed.utilisation, assumed.decode_ms) for work in found]
    return [
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
        *_work_lines(found, hours, hardware),
        *_assumption_lines(config, selector, pool, hardware),
        "",
        *_memory_lines(config, selector, target),
        *(
            _beside_less(config, found, hours, hardware)
            if "router" in config.methods and hardware.name == "GPU"
            else []
        ),
    ]


def _model_lines(role: str, name: str, shape: Shape) -> list[str]:
    experts = f": {shape.running} of {shape.experts} experts in {shape.routed} layers" if shape.experts else ""
    return [
        f"  {role} {name}: {shape.total:,} parameters, {shape.active:,} active per token{experts}",
        f"    of these {shape.body:,} in the layers and {shape.head:,} in the head; stored as {_dtype(shape.dtype)}, "
        f"{shape.weights / GIB:.2f} GiB",
    ]


def _work_lines(found: Sequence[Work], hours: Sequence[float], hardware: Hardware) -> list[str]:
    rows = [("stage", "what", "runs", "tokens a run", "GFLOP/token", "PFLOP", f"{hardware.name} hours")]
    rows += [
        (
            work.stage,
            work.what,
            str(work.runs),
            f"{work.tokens:,.0f}",
            f"{work.flops_per_token / 1e9:,.4g}",
            _number(work.flops / 1e15),
            _number(spent),
        )
        for work, spent in zip(found, hours, strict=True)
    ]
    rows.append(("all", "", "", "", "", _number(sum(work.flops for work in found) / 1e15), _number(sum(hours))))
    return [
        f"  {stage:9} {what:34} {runs:>5} {tokens:>14} {each:>12} {flops:>10} {spent:>10}"
        for stage, what, runs, tokens, each, flops, spent in rows
    ]


def _assumption_lines(config: Config, selector: Shape, pool: Pool, hardware: Hardware) -> list[str]:
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
        f"  hours: operations / ({hardware.tflops:.3g} TFLOP/s, {hardware.known}, x {assumed.utilisation:g}, assumed)",
        f"    + {assumed.decode_ms:g} ms, assumed, per token of {answered_at_once(config.throughput)} answers at once;",
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
        f"scoring {max(config.throughput.score_tokens or TOKENS['cuda'], length):,} tokens"
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
        "  logits: as computed, in float32, their log-softmax, and in training its gradient; in training of all tokens",
        f"    at once, elsewhere of {CHUNK}",
        "  in brackets what activation checkpointing would keep (throughput.activations). Allocators add 10% or more",
    ]


def _beside_less(config: Config, found: Sequence[Work], hours: Sequence[float], hardware: Hardware) -> list[str]:
    own = [work.stage == "warm up" or (work.what.startswith("signals") and "with last" in work.what) for work in found]
    selecting = sum(spent for spent, counts in zip(hours, own, strict=True) if counts)
    less = LESS_A100_HOURS * A100_TFLOPS / hardware.tflops
    return [
        "",
        f"Selecting by `router`, one seed: {selecting / len(config.seeds):.2f} GPU hours (the warm-up and one pass)",
        f"  LESS is said to take {LESS_A100_HOURS} A100 hours for 270k examples: {less:.1f} on this GPU, if both reach",
        f"  the same share of their peaks ({A100_TFLOPS} TFLOP/s for an A100), which small experts may well not",
    ]


def _number(value: float) -> str:
    """Return a number with one decimal, or of less than 1 two digits."""
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
