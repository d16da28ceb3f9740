"""What the stages write to disk, counted from the models' shapes and the pool, before anything is written."""

from dataclasses import dataclass

from moesift.config import EMBEDDED, SMOLLM2, Config
from moesift.models.shapes import Shape
from moesift.report.costs import Pool, lora_parameters, router_parameters
from moesift.passes.likelihood import SKETCH
from moesift.scoring.measurements import what_is_read

KEY = 40  # bytes of an example's id, source and token count in a parquet
ANSWER = 60  # bytes of a question in the parquet of an evaluation, a metric at a time
FLOAT, DOUBLE = 4, 8


@dataclass(frozen=True)
class Written:
    """What one kind of job leaves on disk: how often, how many bytes each time, and what they are."""

    stage: str
    what: str
    times: int
    bytes: float

    @property
    def total(self) -> float:
        """Bytes of all of them."""
        return self.times * self.bytes


def written(config: Config, selector: Shape, target: Shape, pool: Pool) -> list[Written]:
    """Return what a run writes, in the order of the stages; logs, tokenizers and the report are left out as small."""
    seeds, runs = len(config.seeds), len(config.methods) * len(config.seeds)
    read = sorted(what_is_read(config.methods, config.select.diversity is not None))
    found = [
        Written("prepare", "pool and held-out examples", 1, (pool.examples + config.data.heldout) * pool.bytes),
        *(
            Written("models", f"{role}, made here", 1, shape.weights)
            for role, model, shape in (
                ("selector", config.selector.model, selector),
                ("target", config.target.model, target),
            )
            if model in (EMBEDDED, SMOLLM2) or (role == "selector" and config.selector.upcycle)
        ),
    ]
    if any(reads.model != "selector" for reads in read):
        own, trash = router_parameters(selector, config)
        trained = trash if config.warmup.objective == "contrastive" else own + trash
        epoch = FLOAT * (own + trash) + 2 * FLOAT * trained  # the routers, and Adam's two moments
        # Two states and the one that is being written: the parameters beside their moments.
        state = 3 * 3 * FLOAT * trained
        found += [
            Written("warm up", "frozen weights, shared by the epochs of a seed", seeds, selector.weights),
            Written("warm up", "routers and optimizer of each epoch", seeds * (config.warmup.epochs + 1), epoch),
            Written("warm up", "states of a running epoch", seeds, state),
        ]
    layers, experts = selector.routed, selector.experts
    widths = {"signals": DOUBLE * layers, "usage": FLOAT * layers * experts, "sketch": FLOAT * SKETCH}
    for reads in read:
        times = 1 if reads.model == "selector" else seeds
        # Twice: the shards, which are removed once they are merged.
        size = 2 * pool.examples * (KEY + widths.get(reads.quantity, DOUBLE))
        found.append(Written("score", f"{reads.quantity} with {reads.model}, and its shards", times, size))
    found.append(Written("score", "scores of each method", runs, pool.examples * (KEY + DOUBLE + DOUBLE * layers)))
    for ratio in config.select.ratio:
        kept = ratio * pool.examples * (pool.bytes + KEY)
        copies = 1 if config.select.format == "parquet" else 3  # JSON lines are not compressed
        found.append(Written("select", f"{ratio:g} of the pool", runs, copies * kept))
    lora = lora_parameters(target, config.train.lora_rank)
    adapters = runs * len(config.select.ratio)
    sizes = {size.name: size.questions for size in config.estimate.tasks}
    asked = sum(sizes.get(task.name, 0) for task in config.evaluate.tasks)
    return [
        *found,
        Written("train", "adapters", adapters, FLOAT * lora),
        Written("train", "states of a running training", 1, 3 * 3 * FLOAT * lora),
        Written(
            "evaluate", "questions and held-out losses", adapters + 1, ANSWER * (2 * asked + 2 * config.data.heldout)
        ),
    ]
