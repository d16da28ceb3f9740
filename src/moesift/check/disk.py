"""What the stages write to disk, from the shapes of the models and the pool; what is small is left out."""

from collections import Counter
from typing import NamedTuple

import polars as pl

from moesift.check.costs import Pool, lora_parameters, router_parameters, share_of
from moesift.config import EMBEDDED, SMOLLM2, Config
from moesift.models.shapes import Shape
from moesift.passes.columns import PASSES
from moesift.passes.likelihood import HIDDEN
from moesift.plan import Plan, passes_of

KEY = 40  # bytes of an example's id, source and token count in a parquet
FLOAT = 4


class Written(NamedTuple):
    """Files of one kind: how many, and the bytes of each."""

    stage: str
    what: str
    files: int
    bytes: float


def written(config: Config, plan: Plan, selector: Shape, target: Shape, pool: Pool) -> list[Written]:
    """Return what a run writes, in the order of the stages."""
    seeds, runs = len(config.seeds), Counter(run.budget for run in plan.runs)
    rows = [Written("prepare", "pool and held-out examples", 1, (pool.examples + config.data.heldout) * pool.bytes)]
    if config.selector.model in (EMBEDDED, SMOLLM2) or config.selector.upcycle is not None:
        rows.append(Written("models", "selector", 1, selector.weights))
    if config.target.model in (EMBEDDED, SMOLLM2):
        rows.append(Written("models", "target", 1, target.weights))
    passes = passes_of(plan.columns)
    if any(state in ("untrained", "warmed") for _, state in passes):
        of_model, appended = router_parameters(config, selector)
        trained = appended if config.warmup.objective == "contrastive" else of_model + appended
        epochs = seeds * (1 + (config.warmup.epochs if plan.warmed else 0))
        rows += [
            Written("warm up", "frozen weights, shared by the epochs of a seed", seeds, selector.weights),
            # With Adam's two moments.
            Written(
                "warm up", "routers and optimizer of each epoch", epochs, FLOAT * (of_model + appended + 2 * trained)
            ),
        ]
    for name, state in passes:
        row = KEY + sum(_bytes(column, kind, selector) for column, kind in PASSES[name].items())
        times = seeds if state in ("untrained", "warmed") else 1
        rows.append(Written("score", f"{name}, {state}", times, pool.examples * row))
    rows.append(Written("score", "scores of each method", len(plan.methods) * seeds, pool.examples * (KEY + 8)))
    copies = 1 if config.select.format == "parquet" else 3  # JSON lines are not compressed
    for budget, times in runs.items():
        kept = share_of(budget, pool) * pool.examples
        rows.append(Written("select", budget, times, copies * kept * (pool.bytes + KEY)))
    lora = FLOAT * lora_parameters(config, target)
    # A state has Adam's moments too; two are kept while the next is written.
    states = Written("train", "states of a running training", 3, 3 * lora)
    return [*rows, Written("train", "adapters", len(plan.runs), lora), states]


def _bytes(column: str, kind: object, selector: Shape) -> int:
    """Return the bytes of an example in a column of a pass."""
    usage = selector.routed * selector.experts
    widths = {"log_odds": selector.routed, "log_odds_all": selector.routed, "expert_usage": usage, "hidden": HIDDEN}
    width = widths.get(column, selector.hidden) if isinstance(kind, pl.List) else 1
    return width * (FLOAT if kind == pl.List(pl.Float32) else 8)
