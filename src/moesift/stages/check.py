"""Say what would stop a run, how much it writes and what it costs, before anything is spent.

No weights are read, of the sources no more than a sample, and no GPU is needed. Everything that is wrong is said at
once.
"""

import argparse
import io
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml

from moesift.config import EMBEDDED, HUB, Config, Source, Task
from moesift.demo.evaluation_sets import reader
from moesift.data.pool import COLUMNS, EXAMPLE, deduplicated, frequent_reasons, to_examples
from moesift.data.sources import sample_source
from moesift.demo.wheel import default_cache
from moesift.errors import UserError, run
from moesift.evaluation import look_up, refuse_unknown
from moesift.gpus import devices
from moesift.models.chat import encode
from moesift.models.inspection import Outline, embedded_outline, outlined, require_routers
from moesift.models.loading import load_tokenizer, require_gpus
from moesift.report import estimate, preflight
from moesift.report.costs import Hardware, Pool, memory, peak
from moesift.report.disk import written

SAMPLE = 300  # rows of each source that are looked at
WITHOUT_LIMIT = 2**62  # tokens


def main() -> None:
    """Collect the facts, print the table; what would stop the run goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Config.model_validate_json, required=True, help="the configuration as JSON")
    parser.add_argument("--selector", required=True, help="the selector as it comes: a directory or a name on the hub")
    parser.add_argument("--target", required=True, help="the target: a directory or a name on the hub")
    parser.add_argument("--tokenizer", help="directory of the tokenizer of embedded models")
    parser.add_argument("--routed", action="store_true", help="a method reads the selector's routers")
    parser.add_argument("--results", type=Path, required=True, help="folder that the run writes to")
    parser.add_argument(
        "--rule-gpus", type=json.loads, required=True, help="JSON: GPUs that each training rule asks for"
    )
    parser.add_argument("--submitted", action="store_true", help="the jobs go to a cluster")
    args = parser.parse_args()
    config: Config = args.config
    problems: list[str] = []

    def tried(look: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return look(*arguments)
        except UserError as error:
            if str(error) not in problems:  # several tasks may miss the same data
                problems.append(str(error))
            return None

    def shown(title: str, *checks: preflight.Checked) -> None:
        print("\n".join(["", title, *(line for check in checks for line in check.lines)]))
        problems.extend(problem for check in checks for problem in check.problems)

    print(f"Check of {config.experiment}: no weights were read, and nothing was trained")
    outlines: dict[str, Outline] = {
        role: found for role in ("selector", "target") if (found := tried(outline, role, args)) is not None
    }
    if "selector" in outlines:
        tried(require_routers, config.selector.model, outlines["selector"].shape.routed > 0, False, args.routed)
    if "target" in outlines:
        problems += preflight.lora(len(outlines["target"].shape.lora), config.train.lora_targets)

    looked = [found for source in config.data.sources if (found := tried(sampled, source)) is not None]
    unknown, heldout = config.estimate.pool_examples, config.data.heldout
    shown("Data", preflight.data([sample for sample, _ in looked], unknown, heldout))

    lengths: dict[str, preflight.Lengths] = {}
    examples = pl.concat([pl.DataFrame(schema=EXAMPLE), *(own for _, own in looked)])
    weights = [sample.examples(unknown) / own.height for sample, own in looked for _ in range(own.height)]
    for role, found in outlines.items() if weights else ():
        encoded = tried(encode, examples["messages"].to_list(), found.tokenizer, WITHOUT_LIMIT)
        if encoded is not None:
            lengths[role] = preflight.lengths(encoded, weights, config.data.max_length)
    if lengths:
        fits = (preflight.fits(r, n, config.data.max_length, outlines[r].positions) for r, n in lengths.items())
        shown(f"Lengths, of {examples.height:,} examples that were looked at", *fits)

    tasks = [line for task in config.evaluate.tasks if (line := tried(asked, task, config.evaluate.data)) is not None]
    shown("Evaluation", preflight.Checked(tasks, []))

    visible = devices() if config.throughput.gpus else []
    shown("GPUs", preflight.gpus(config.throughput.gpus, visible, args.submitted, processes(args)))
    tried(require_gpus, min(config.throughput.gpus, len(visible)))  # how many there are too few has been said

    if len(lengths) == 2:
        size = sum(sample.examples(unknown) for sample, _ in looked) - heldout
        means = {role: found.mean for role, found in lengths.items()}
        pool = Pool(max(1, size), means["selector"], means["target"], bytes_each(examples), "told by the sample above")
        shapes = outlines["selector"].shape, outlines["target"].shape
        args.results.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(args.results).free
        shown("Disk", preflight.disk(written(config, *shapes, pool), on_disk(args.results), free, str(args.results)))
        found = hardware(config, bool(visible) and torch.cuda.is_available())
        shown("Cost", preflight.Checked(["", *estimate.lines(config, *shapes, pool, found)], []))
        if found.memory is not None:
            peaks = {stage: peak(parts) for stage, parts in memory(config, *shapes).items()}
            problems += preflight.memory(peaks, found.memory)

    if problems:
        listed = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, start=1))
        raise UserError(f"{len(problems)} of what was looked at would stop this run:\n{listed}")
    print("\nNothing was found that would stop this run.")


def outline(role: str, args: argparse.Namespace) -> Outline:
    """Return the outline of the selector, upcycled where that is asked for, or of the target."""
    config: Config = args.config
    lora_targets = config.train.lora_targets if role == "target" else []
    if getattr(config, role).model == EMBEDDED:
        return embedded_outline(role, load_tokenizer(args.tokenizer), lora_targets)
    upcycle = config.selector.upcycle if role == "selector" else None
    return outlined(f"{role}.model", getattr(args, role), lora_targets, upcycle)


def sampled(source: Source) -> tuple[preflight.Sampled, pl.DataFrame]:
    """Return what a sample of a source says of it, and its examples."""
    rows, height = sample_source(source, SAMPLE, default_cache())
    examples, refused = to_examples({source.name: rows}, {source.name: source.format})
    reasons = frequent_reasons(refused["reason"].to_list(), most=1)
    reason = reasons[0][0] if reasons else None
    return preflight.Sampled(source.name, len(rows), refused.height, reason, height, source.limit), examples


def asked(task: Task, data: str) -> str:
    """Return how much a task of the evaluation asks; its name is looked at, and its data unless they are the hub's.

    Here alone and not in what all jobs wait for: lm-eval takes ten seconds to tell which tasks it has.
    """
    limit = "" if task.limit is None else f", at most {task.limit:,} of each task asked"
    if data == HUB:
        refuse_unknown([task.name])
        return f"  {task.name}: one of lm-eval's; its data are the hub's, which was not asked{limit}"
    questions = look_up([task.name], reader(data)).questions
    parts = "" if len(questions) == 1 else f" in {len(questions)} tasks"
    return f"  {task.name}: {sum(questions.values()):,} questions{parts}{limit}"


def processes(args: argparse.Namespace) -> dict[str, tuple[int, int]]:
    """Return of each rule that trains the processes of its accelerate file and the GPUs that it asks for."""
    files = {"warmup_epoch": args.config.warmup.accelerate, "train_adapter": args.config.train.accelerate}
    wanted = {rule: yaml.safe_load(Path(file).read_text())["num_processes"] for rule, file in files.items()}
    return {rule: (wanted[rule], asked) for rule, asked in args.rule_gpus.items()}


def bytes_each(examples: pl.DataFrame) -> float:
    """Return the bytes of an example in the parquet of the pool."""
    file = io.BytesIO()
    pool, _ = deduplicated(examples)
    pool.select(COLUMNS).write_parquet(file)
    return file.tell() / pool.height


def on_disk(folder: Path) -> int:
    """Return the bytes of the files below a folder, those with several names once."""
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum({(file.st_dev, file.st_ino): file.st_size for file in files}.values())


def hardware(config: Config, on_gpu: bool) -> Hardware:
    """Return what the run computes on: measured where it is at hand, assumed where it is not."""
    assumed, bytes_of = config.estimate, 2**30
    if config.throughput.gpus and not on_gpu:
        return Hardware(assumed.peak_tflops, "assumed", "GPU", assumed.memory_gib * bytes_of)
    if on_gpu:
        there = torch.cuda.get_device_properties(0)
        return Hardware(product_tflops("cuda", torch.bfloat16, 8192), "measured", "GPU", there.total_memory)
    torch.set_num_threads(config.throughput.threads)
    return Hardware(product_tflops("cpu", torch.float32, 1024), "measured", "CPU", None)


def product_tflops(device: str, dtype: torch.dtype, size: int) -> float:
    """Return how many TFLOP/s the best of a few products of two square matrices reaches."""
    one, other = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        (one @ other)[0, 0].item()  # waits until it is computed
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e12


if __name__ == "__main__":
    run(main)
