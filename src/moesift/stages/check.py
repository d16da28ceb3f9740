"""Say what would stop a run, how much it writes and what it costs, before anything is spent.

No weights are read, only a sample of each source, and no GPU is needed. All problems are listed at the end.
"""

import dataclasses
import io
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import datasets.config
import torch

from moesift import flags
from moesift.check.costs import Cost, Pool, Selection, costs, selections
from moesift.check.data import Lengths, Sample, length_problems, lengths, sample
from moesift.check.disk import FOLDERS, written
from moesift.check.models import Outline, described_reward, outline, require_routers
from moesift.config import EMBEDDED, HUB, SMOLLM2, Config, Task
from moesift.data.pool import COLUMNS, concatenated, deduplicated, frequent_reasons
from moesift.data.targets import rows_needed
from moesift.errors import UserError
from moesift.evaluation.index import unusable
from moesift.evaluation.local_data import localise_tasks, reader
from moesift.evaluation.tasks import look_at_prompts, refuse_without_data
from moesift.gpus import devices
from moesift.models.chat import NO_END, encode, end_of_turn
from moesift.models.loading import commit_of, require_gpus
from moesift.models.lora_weights import lora_weights
from moesift.models.tuning import require_tunable
from moesift.plan import planned
from moesift.training.accelerate_file import WHOLE, held, require_usable

NO_LIMIT = 2**62  # tokens
TRIED = 2**20  # bytes that are written to see whether it can be done
PROMPTS = 10  # of each task, and of each member of a group, that are looked at

Result = TypeVar("Result")


class Problems(list[str]):
    """What would stop the run."""

    def attempt(self, look: Callable[..., Result], *arguments: object) -> Result | None:
        """Return what a look gives, or None where it ends in an error, which is kept."""
        try:
            return look(*arguments)
        except UserError as error:
            if str(error) not in self:  # several tasks may lack the same data
                self.append(str(error))
            return None


def main(
    config: Config,
    selector: str,
    target: str,
    results: Path,
    trainings: dict[str, Path],
    rule_gpus: dict[str, int],
    submitted: bool,
    tokenizer: str | None = None,
) -> None:
    """Print what was looked at; problems end in one error.

    Args:
        config: the configuration as JSON.
        selector: the selector before it is upcycled: a directory or a name on the hub.
        target: a directory or a name on the hub.
        results: folder that the run writes to.
        trainings: JSON: the accelerate file of each rule that is going to train.
        rule_gpus: JSON: the GPUs that each rule that is going to train asks for.
        submitted: the jobs go to a cluster.
        tokenizer: directory of the tokenizer of embedded models.
    """
    print(f"Check of {config.experiment}: no weights are read, nothing is trained")
    plan, problems = planned(config), Problems()

    print("\nModels")
    models: dict[str, Outline] = {}
    for role, model in {"selector": selector, "target": target}.items():
        if found := problems.attempt(outline, config, role, model, tokenizer):
            shape = found.shape
            section, train = (
                ("train", config.train) if role == "target" else ("gradients.train", config.gradients.train)
            )
            if role == "target" and config.train.method == "full":
                problems.attempt(require_tunable, found.empty.config)
            elif role == "target" or plan.tunes_selector:
                given = (found.empty, train.lora_targets, train.lora_dropout, section)
                shape = dataclasses.replace(shape, lora=tuple(problems.attempt(lora_weights, *given) or ()))
            models[role] = found._replace(shape=shape)
            experts = f", {shape.running} of {shape.experts} experts in {shape.routed} layers" if shape.experts else ""
            dtype = str(shape.dtype).removeprefix("torch.")
            print(f"  {role} {model}: {shape.total:,} parameters, {shape.active:,} active per token{experts}; {dtype}")
            made_here = getattr(config, role).model in (EMBEDDED, SMOLLM2)
            if not made_here and (commit := commit_of(model)) and commit not in model:
                print(f"    not pinned: {model.partition('@')[0]}@{commit} is what is read now")
            ending = end_of_turn(found.tokenizer)
            print(f"    a response ends with {ending!r}" if ending else f"    {NO_END}")
    if "selector" in models:
        has_routers = models["selector"].shape.routed > 0
        problems.attempt(require_routers, config.selector.model, has_routers, False, plan.routed)
    if plan.rewards and (looked := problems.attempt(described_reward, config.reward.model)):
        print(f"  reward {config.reward.model}: {looked['architecture']}, labels: {looked['labels']}")

    samples = [found for source in config.data.sources if (found := problems.attempt(sample, source))]
    examples = sum(each.size(config.estimate.pool_examples) for each in samples)
    print("\nData", *(each.describe() for each in samples), sep="\n  ")
    print(f"  about {examples:,.0f} examples in all, {config.data.heldout:,} of them held out")
    if samples and examples <= config.data.heldout:
        problems.append(
            f"data.heldout: the sources have about {examples:,.0f} examples in all, too few to hold out "
            f"{config.data.heldout:,}; hold out fewer or read more rows"
        )
    measured = check_lengths(samples, models, config, problems)
    check_targets(config, problems)

    tasks = check_tasks(config, models.get("target"), problems)
    check_gpus(config, trainings, rule_gpus, submitted, problems)

    if len(measured) == 2:
        left, of_target = max(1, round(examples) - config.data.heldout), measured["target"]
        pool = Pool(left, measured["selector"].mean, of_target.mean, of_target.response, bytes_each(samples))
        counted = config, plan, models["selector"].shape, models["target"].shape, pool
        spread = problems.attempt(held, Path(config.train.accelerate)) or WHOLE
        check_disk(problems.attempt(written, *counted, spread) or {}, results, problems)
        if rows := problems.attempt(costs, *counted, tasks, spread):
            check_costs(rows, config, models["target"].shape.dtype, problems)
            show_selections(selections(*counted))
    if problems:
        listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, start=1))
        raise UserError(f"{len(problems)} problems would stop this run:\n{listed}")
    print("\nNothing was found that would stop this run.")


def check_lengths(
    samples: Sequence[Sample], models: Mapping[str, Outline], config: Config, problems: Problems
) -> dict[str, Lengths]:
    """Return how long the sampled examples are for each model, by role."""
    print("\nLengths in tokens")
    conversations = [messages for each in samples for messages in each.examples["messages"].to_list()]
    unknown, limit = config.estimate.pool_examples, config.data.max_length
    weights = [each.size(unknown) / each.examples.height for each in samples for _ in range(each.examples.height)]
    measured = {}
    for role, model in models.items() if conversations else ():
        if encoded := problems.attempt(encode, conversations, model.tokenizer, NO_LIMIT):
            usable = [(one, weight) for one, weight in zip(encoded, weights, strict=True) if one.refused is None]
            if reasons := [one.refused for one in encoded if one.refused is not None]:
                often = f"{len(reasons)} of {len(encoded)} examples, most often: {frequent_reasons(reasons, 1)[0][0]}"
                print(f"  {role}: no tokens for {often}")
            if not usable:
                problems.append(f"{role}.model: no tokens for {often}")
                continue
            found = measured[role] = lengths(*zip(*usable, strict=True), limit)
            whole = all(each.is_whole for each in samples)
            problems += length_problems(role, found, limit, model.positions, whole)
            print(f"  {role}: mean {found.mean:,.0f}, longest {found.longest:,}, positions {model.positions}")
            print(f"    data.max_length {limit:,} cuts {found.cut:.1%}, and {found.lost:.1%} have no response left")
    return measured


def check_targets(config: Config, problems: Problems) -> None:
    """Look at rows of each target but those that are questions of a task, and whether they are enough."""
    if config.targets:
        print("\nTargets")
    for target in config.targets:
        if target.task is not None:
            print(f"  {target.name}: {target.task}, questions not looked at")
            continue
        if (found := problems.attempt(sample, target)) is None:
            continue
        print(f"  {found.describe()}")
        usable = found.size(config.estimate.pool_examples)
        if usable < target.heldout + (target.queries or 1):
            needed = rows_needed(target.queries, target.heldout)
            problems.append(f"targets: {target.name}: about {usable:,.0f} of its rows can be used, and {needed}")


def check_tasks(config: Config, target: Outline | None, problems: Problems) -> dict[str, int]:
    """Return how many questions each task asks; of data on the hub, which are not read, nothing is known."""
    if config.evaluate.tasks:
        print("\nEvaluation")
    data = config.evaluate.data
    wrong = unusable([task.name for task in config.evaluate.tasks], data == HUB)
    problems += wrong.values()
    asked: dict[str, int] = {}
    for task in config.evaluate.tasks:
        if data == HUB or task.name in wrong:
            print(f"  {task.name}: data not looked at")
            if target is not None and target.positions is not None:
                problems.attempt(refuse_without_data, task, target.positions)
            continue
        with tempfile.TemporaryDirectory() as folder:
            looked = problems.attempt(look_at_task, task, data, target, Path(folder))
        if looked is not None:
            asked[task.name], prompts = looked
            print(f"  {task.name}: {asked[task.name]:,} questions{prompts}")
    return asked


def look_at_task(task: Task, data: str, target: Outline | None, folder: Path) -> tuple[int, str]:
    """Return how many questions a task asks, and what is to be said of its prompts.

    Args:
        target: that answers; None makes no prompts.
        folder: for the data as lm-eval will read them.

    Raises:
        UserError: the data are missing or cannot be read, or lm-eval cannot ask their questions as the task says.
    """
    datasets.config.HF_DATASETS_CACHE = folder / "cache"  # the copies go with the folder
    counts = localise_tasks([task.name], reader(data), folder / "data").values()
    questions = sum(number if task.limit is None else min(task.limit, number) for number in counts)
    if target is None or target.positions is None:
        return questions, ""
    looked = look_at_prompts(task, folder / "data" / "tasks", target.tokenizer, target.positions, PROMPTS)
    said = (
        f"; {looked.cut:,} of {looked.questions:,} prompts are longer than the target's {target.positions:,} positions"
    )
    return questions, f"{said} and lose their beginning, few-shot examples first" if looked.cut else ""


def check_gpus(
    config: Config, trainings: Mapping[str, Path], rule_gpus: Mapping[str, int], submitted: bool, problems: Problems
) -> None:
    """Compare the GPUs that jobs ask for with those that are there, and with the processes that train on them."""
    asked = config.throughput.gpus
    visible = len(devices()) if asked else 0
    print(f"\nGPUs\n  {asked} for each job that runs a model, {visible} visible here")
    if not submitted and asked > visible:
        problems.append(
            f"throughput.gpus: {asked} for each job, but {visible} can be seen here; 0 computes on the CPU, and "
            "`--profile slurm` submits the jobs to where the GPUs are"
        )
    problems.attempt(require_gpus, min(asked, visible))
    for rule, gpus in rule_gpus.items():
        keys = problems.attempt(require_usable, trainings[rule], not gpus, gpus, rule != "train_adapter")
        if keys and gpus not in (0, keys["num_processes"]):
            problems.append(
                f"{rule}: {trainings[rule]} asks for {keys['num_processes']} processes, and the rule for {gpus} GPUs; "
                "give both the same number, the rule's in the profile (set-resources: "
                f"{{{rule}: {{gpu: {keys['num_processes']}}}}})"
            )


def check_disk(files: Mapping[str, float], results: Path, problems: Problems) -> None:
    """Compare what is still to be written with the room on the disk; how much a quota leaves cannot be known."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results) as file:
            file.write(bytes(TRIED))
            os.fsync(file.fileno())
    except OSError as error:
        problems.append(f"{results}: cannot be written to: {error.strerror}; the results of a run go there")
        return
    stats = [path.stat() for folder in FOLDERS for path in (results / folder).rglob("*") if path.is_file()]
    there = sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}.values())  # hard links once
    missing, free = max(0.0, sum(files.values()) - there), shutil.disk_usage(results).free
    print("\nDisk", *(f"{what:52} {size(number):>10}" for what, number in files.items()), sep="\n  ")
    print(f"  still to be written: {size(missing)}; free in {results}: {size(free)}")
    if missing > free:
        problems.append(
            f"{results}: {size(missing)} are still to be written, but only {size(free)} are free; make room, or make "
            f"{results} a link to a larger disk"
        )


def check_costs(rows: Sequence[Cost], config: Config, dtype: torch.dtype, problems: Problems) -> None:
    """Show hours and memory of the stages, and compare the memory with that of a GPU.

    Args:
        dtype: of the target's weights, in which the speed of a CPU is measured.
    """
    tflops, memory = hardware(config, dtype)
    hours = [row.hours(tflops * config.estimate.utilisation) for row in rows]
    print(f"\nCost\n  {'stage':9} {'what':30} {'runs':>5} {'tokens a run':>15} {'hours':>8} {'memory':>10}")
    for row, spent in zip(rows, hours, strict=True):
        print(f"  {row.stage:9} {row.what:30} {row.runs:>5} {row.tokens:>15,.0f} {spent:>8.2g} {size(row.memory):>10}")
    device = "GPU" if config.throughput.gpus else "CPU"
    print(f"  {sum(hours):.2g} hours of one {device} at {config.estimate.utilisation:.0%} of {tflops:.3g} TFLOP/s")
    print("  src/moesift/check/costs.py says how this is counted, and what is left out")
    for stage, jobs in itertools.groupby(rows, key=lambda row: row.stage):
        needed = max(row.memory for row in jobs)
        if memory is not None and needed > memory:
            problems.append(
                f"{stage}: needs about {size(needed)} of a GPU's {size(memory)}; lower throughput.micro_batch or "
                "data.max_length, set throughput.activations: recompute, or use a smaller model"
            )


def show_selections(rows: Sequence[Selection]) -> None:
    """Show what each method costs beside training on the whole pool: it pays for itself below 100%."""
    if rows:
        print(f"\nTo select, beside training on the whole pool: {rows[0].whole:.2g} operations")
    for row in rows:
        both = row.select + row.train
        print(f"  {row.method:24} {row.select / row.whole:8.0%}, with training on its part {both / row.whole:8.0%}")


def hardware(config: Config, dtype: torch.dtype) -> tuple[float, float | None]:
    """Return the TFLOP/s, and the bytes of memory of a GPU: of what is here, or as assumed for a GPU elsewhere."""
    if config.throughput.gpus and not torch.cuda.is_available():
        return config.estimate.peak_tflops, config.estimate.memory_gib * 2**30
    if config.throughput.gpus:
        return product_tflops("cuda", torch.bfloat16, 8192), torch.cuda.get_device_properties(0).total_memory
    torch.set_num_threads(config.throughput.threads)
    return product_tflops("cpu", dtype, 1024), None


def product_tflops(device: str, dtype: torch.dtype, width: int) -> float:
    """Return the TFLOP/s of a product of two square matrices, the best of five."""
    matrix, seconds = torch.ones(width, width, dtype=dtype, device=device), []
    for _ in range(5):
        started = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits until it is computed
        seconds.append(time.perf_counter() - started)
    return 2 * width**3 / min(seconds) / 1e12


def bytes_each(samples: Sequence[Sample]) -> float:
    """Return the bytes of an example in the parquet of the pool."""
    file = io.BytesIO()
    pool, _ = deduplicated(concatenated(each.examples for each in samples))
    pool.select(COLUMNS).write_parquet(file)
    return file.tell() / pool.height


def size(number: float) -> str:
    """Return a number of bytes in a unit that is easy to read."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


if __name__ == "__main__":
    flags.run(main)
