"""What the stages write to disk, from the shapes of the models and the pool; what is small is left out."""

from moesift.check.costs import Pool, lora_parameters, readings, router_parameters, share_of, trained_parameters
from moesift.config import EMBEDDED, SMOLLM2, Config
from moesift.models.shapes import Shape
from moesift.passes.columns import PASSES
from moesift.passes.likelihood import HIDDEN
from moesift.plan import Plan, passes_of
from moesift.training.accelerate_file import WHOLE, Held

# Below the results: where the files lie that are counted here.
FOLDERS = ("data", "passes", "warmup", "gradients", "scores", "selected", "exported", "adapters", "upcycled", "smollm2")
FOLDERS += ("embedded/selector", "embedded/target")
ID = 20  # bytes of an example's id in a parquet
FLOAT = 4


def written(
    config: Config, plan: Plan, selector: Shape, target: Shape, pool: Pool, held: Held = WHOLE
) -> dict[str, float]:
    """Return the bytes of all files of a kind, by what they are."""
    seeds, made_here = len(config.seeds), (EMBEDDED, SMOLLM2)
    files = {"pool and held-out examples": (pool.examples + config.data.heldout) * pool.bytes}
    if config.selector.model in made_here or config.selector.upcycle is not None:
        files["selector"] = selector.weights
    if config.target.model in made_here:
        files["target"] = target.weights
    passes = passes_of(plan.columns)
    if any(state in ("untrained", "warmed") for _, state in passes):
        of_model, appended = router_parameters(config, selector)
        trained = appended if config.warmup.objective == "contrastive" else of_model + appended
        epochs = config.warmup.epochs if plan.warmed else 0  # besides epoch 0; each has Adam's two moments too
        routers = (1 + epochs) * (of_model + appended) + epochs * 2 * trained
        files["frozen weights of the warm-up, shared by its epochs"] = seeds * selector.weights
        files["routers and optimizer of all epochs"] = seeds * FLOAT * routers
    for name, state in passes:
        row = ID + sum(_bytes(name, column, kind, selector, config) for column, kind in PASSES[name].items())
        files[f"pass {name}, {state}"] = readings(state, config) * pool.examples * row
    if plan.tunes_selector:  # and Adam's two moments of each
        epochs, rank = config.gradients.train.epochs, config.gradients.train.lora_rank
        files["LoRA checkpoints of the selector"] = 3 * seeds * epochs * FLOAT * lora_parameters(rank, selector)
    files["scores"] = len(plan.methods) * seeds * pool.examples * (ID + 2 * 8)
    copies = 3 if set(config.select.format) - {"parquet"} else 1  # JSON lines are not compressed
    kept = pool.examples * sum(share_of(run.budget, pool) for run in plan.runs)
    files["selections"] = copies * kept * (pool.bytes + ID)
    trained = trained_parameters(config.train, target)
    if config.train.method == "full":
        files["tuned models"] = len(plan.runs) * FLOAT * trained
    else:
        files["adapters"] = len(plan.runs) * FLOAT * trained
    # Three of them, with Adam's moments: two that are kept, and the next one that is written.
    files["states of a running training"] = 3 * 3 * FLOAT * trained if held.resumes else 0
    return files


def _bytes(pass_name: str, column: str, kind: str, selector: Shape, config: Config) -> int:
    """Return the bytes of an example in a column of a pass; a text is mostly null."""
    if not kind.startswith("List"):
        return 0 if kind == "String" else 8
    of_pass = {
        "router_logits": selector.routed * selector.experts,
        "gradients": config.gradients.dimension,
        "reward": 1,
    }
    of_column = {"log_odds": selector.routed, "log_odds_all": selector.routed, "hidden": HIDDEN}
    width = of_pass.get(pass_name) or of_column.get(column, selector.hidden)
    return width * {"List(Float16)": 2, "List(Float32)": FLOAT}.get(kind, 8)
