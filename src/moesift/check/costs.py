"""What a configuration costs: hours and memory of each stage, from the shapes of the models.

Operations: a token's forward pass takes 2 (multiply and add) per active parameter, with the head where a loss is
needed; training through frozen weights takes 4, since the backward pass makes gradients of the activations alone, and
training all weights 6.

Memory of one GPU: the weights. Training adds 16 bytes per trained parameter (in float32: itself, its gradient, Adam's
two moments; trained weights are not counted again) and, for each token of `micro_batch` examples of `max_length`, the
activations that its backward pass needs. What ZeRO and FSDP2 spread over the processes is divided by them. Batches of
scoring are not counted, since they are halved until they fit.

Not counted either: padding, attention's part that grows with length, the start of jobs, answers that lm-eval generates,
and what `reward.model` reads.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import torch

from moesift.config import Config, Train
from moesift.models.routers import expert_roles
from moesift.models.shapes import Shape
from moesift.passes.columns import ON_TARGET
from moesift.plan import Plan, passes_of
from moesift.training.accelerate_file import WHOLE, Held

# How many forward passes a pass makes, and whether they run the head; one with it where nothing is said.
FORWARDS = {
    "tokens": (0, False),
    "routing": (1, False),
    "router_logits": (1, False),
    "representation": (1, False),
    "representation_middle": (0.5, False),
    "likelihood": (2, True),
    "gates": (2, True),
    "gradients": (2, True),  # the backward pass through frozen weights costs as much as the forward pass
}
# Activations that are kept where all weights are trained, as a multiple of those where they are frozen: what linear
# maps and norms read too, and the residual stream in float32. Measured: 1.7 to 2.0 in Llama, OLMoE and Mixtral.
IN_FULL = 1.85
QUESTION = 150  # tokens of a question of lm-eval, and of each example before it, roughly


class Pool(NamedTuple):
    """The pool, as a sample of the sources shows it; tokens and bytes are means of an example."""

    examples: int
    selector_tokens: float
    target_tokens: float
    response_tokens: float  # of the target, in the response alone
    bytes: float  # in the parquet


class Cost(NamedTuple):
    """What jobs of one kind cost."""

    stage: str
    what: str
    runs: int
    tokens: float  # of each run
    operations: float  # floating-point, of each token
    memory: float  # bytes on one GPU

    def hours(self, tflops: float) -> float:
        """Return the hours of all runs, at this many TFLOP/s."""
        return self.runs * self.tokens * self.operations / (tflops * 1e12) / 3600


def costs(
    config: Config,
    plan: Plan,
    selector: Shape,
    target: Shape,
    pool: Pool,
    questions: Mapping[str, int],
    held: Held = WHOLE,
) -> list[Cost]:
    """Return what the stages cost, in their order.

    Args:
        held: by a process that trains the target.
        questions: of each evaluation task; a task that is not in it is not counted.
    """
    seeds, batch = len(config.seeds), config.throughput.micro_batch * config.data.max_length
    recompute = config.throughput.activations == "recompute"
    rows: list[Cost] = []
    if plan.warmed:
        examples = config.warmup.epochs * min(config.warmup.examples or pool.examples, pool.examples)
        tokens, operations = examples * pool.selector_tokens, 2 * forward(selector, head=True)
        of_model, appended = router_parameters(config, selector)
        memory = 16 * (of_model + appended) + batch * activations(selector, selector.dtype.itemsize, recompute)
        if config.warmup.objective == "contrastive":  # of pairs; without logits and without gradients of the model
            tokens, operations = 2 * tokens, forward(selector, head=False)
            memory = 16 * appended + 2 * batch * 4 * selector.hidden * selector.routed  # what the routers read
        rows.append(
            Cost("warm up", f"{config.warmup.epochs} epochs", seeds, tokens, operations, selector.weights + memory)
        )
    if plan.tunes_selector:
        train = config.gradients.train
        tokens = train.epochs * config.gradients.share * pool.examples * pool.selector_tokens
        kept = batch * (
            activations(selector, selector.dtype.itemsize, recompute) + 14 * selector.head / selector.hidden
        )
        memory = selector.weights + 16 * lora_parameters(train.lora_rank, selector) + kept
        operations = 2 * forward(selector, head=True)
        rows.append(Cost("warm up", f"LoRA, {train.epochs} epochs", seeds, tokens, operations, memory))
    for name, state in passes_of(plan.columns):
        if state == "reward":
            continue
        shape, each = (target, pool.target_tokens) if state == "target" else (selector, pool.selector_tokens)
        times, head = FORWARDS.get(name, (1, True))
        operations = times * forward(shape, head)
        if operations:
            runs = readings(state, config)
            rows.append(Cost("score", f"{name}, {state}", runs, pool.examples * each, operations, shape.weights))
    # In bf16, of which autocast keeps a copy where the weights are of another dtype; with logits of every token.
    full = config.train.method == "full"
    kept = activations(target, 2, recompute) * (IN_FULL if full else 1) + 14 * target.head / target.hidden
    copies = 0 if target.dtype == torch.bfloat16 and not full else 2 * target.body
    # Where LoRA is added to a weight, the sum is kept for the backward pass.
    copies += target.dtype.itemsize * sum(w.experts * w.inputs * w.outputs for w in target.lora if not w.beside)
    memory = held.weights * (copies + (0 if full else target.weights)) + batch * kept
    memory += held.parameter * trained_parameters(config.train, target)
    for budget, runs in Counter(run.budget for run in plan.runs).items():
        tokens = config.train.epochs * share_of(budget, pool) * pool.examples * pool.target_tokens
        rows.append(Cost("train", budget, runs, tokens, (3 if full else 2) * forward(target, head=True), memory))
    heldout = config.data.heldout + sum(task.heldout for task in config.targets)
    asked = {"held-out loss": heldout * pool.target_tokens} | {
        f"{task.name}, roughly": questions[task.name] * QUESTION * (1 + (task.fewshot or 0))
        for task in config.evaluate.tasks
        if task.name in questions
    }
    runs = len(plan.runs) + 1  # one more: the untuned target
    operations = forward(target, head=True)
    return rows + [Cost("evaluate", what, runs, tokens, operations, target.weights) for what, tokens in asked.items()]


class Selection(NamedTuple):
    """The floating-point operations of one selection, for one seed, and of what it is to be cheaper than."""

    method: str
    select: float  # the passes that it reads and their warm-ups, as if no other method had read the same
    train: float  # on what it keeps, within the smallest budget
    whole: float  # to train on the whole pool instead


def selections(config: Config, plan: Plan, selector: Shape, target: Shape, pool: Pool) -> list[Selection]:
    """Return what each method costs beside training on the whole pool; one that reads `reward.model` is left out."""
    once = config.model_copy(update={"seeds": config.seeds[:1]})
    found: dict[str, Selection] = {}
    for label, chosen in plan.methods.items():
        runs = [run for run in plan.runs if run.method == label and run.seed in once.seeds]
        alone = Plan({label: chosen}, set(chosen.columns.values()), runs, [])
        if alone.rewards:
            continue
        rows = costs(once, alone, selector, target, pool, {})
        select = sum(row.runs * row.tokens * row.operations for row in rows if row.stage in ("warm up", "score"))
        trained = [row for row in rows if row.stage == "train"]
        train = min(row.tokens * row.operations for row in trained)
        whole = config.train.epochs * pool.examples * pool.target_tokens * trained[0].operations
        found.setdefault(chosen.each or label, Selection(chosen.each or label, select, train, whole))
    return list(found.values())


def forward(shape: Shape, head: bool) -> int:
    """Return the floating-point operations of a token's forward pass."""
    return 2 * (shape.body + (shape.head if head else 0))


def activations(shape: Shape, itemsize: int, recompute: bool = False) -> float:
    """Return the bytes that a token keeps for the backward pass through frozen weights, over all layers.

    Kept are the outputs of linear maps and experts, the inputs of LoRA matrices, and in float32 what normalisations and
    routers read. Linear maps on a width D have one output for each D of their parameters.

    Args:
        itemsize: bytes of a number.
        recompute: keep the input of each layer, and one layer whole (activation checkpointing).
    """
    outputs = shape.body / shape.hidden + shape.routed * shape.running * shape.hidden
    inputs = sum(weight.inputs for weight in shape.lora if weight.beside)
    kept = itemsize * (outputs + inputs) + 4 * (shape.norms + shape.routed * shape.hidden)
    return itemsize * shape.hidden * shape.layers + kept / shape.layers if recompute else kept


def lora_parameters(rank: int, shape: Shape) -> int:
    """Return the parameters of the LoRA matrices."""
    return sum(rank * weight.experts * (weight.inputs + weight.outputs) for weight in shape.lora)


def trained_parameters(train: Train, target: Shape) -> int:
    """Return the parameters that a training of the target changes."""
    return target.total if train.method == "full" else lora_parameters(train.lora_rank, target)


def router_parameters(config: Config, selector: Shape) -> tuple[int, int]:
    """Return the parameters of the model's own routers, and of the rows that are appended for trash-can experts.

    Raises:
        UserError: `warmup.trash_ratio` leaves no trash-can expert, or none that works.
    """
    roles = expert_roles(selector.experts, config.warmup.trash_ratio, config.warmup.expert_role)
    row = selector.routed * selector.hidden
    return row * selector.experts, row * len(roles.trash) if roles.role == "appended" else 0


def readings(state: str, config: Config) -> int:
    """Return by how many models of a state the pool is read."""
    if state in ("selector", "target", "reward"):
        return 1
    return len(config.seeds) * (len(config.targets) if state.endswith(ON_TARGET) else 1)


def share_of(budget: str, pool: Pool) -> float:
    """Return the share of the pool that a budget keeps, such as ratio-0.1 or tokens-20000."""
    kind, _, amount = budget.partition("-")
    if not amount:  # the queries, which are few
        return 0.0
    value = float(amount)
    return value if kind == "ratio" or value < 1 else min(1.0, value / (pool.examples * pool.response_tokens))
