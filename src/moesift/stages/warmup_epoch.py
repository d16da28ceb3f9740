"""One epoch of the warm-up: train the routers, and nothing else, on examples of the pool.

The losses are in `moesift.training.warmup`. Started by `accelerate launch`: every process holds the whole selector,
because only the routers are trained, and computes its part of each step.
"""

import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import PreTrainedTokenizerFast

from moesift import config, flags, progress
from moesift.data.corruption import negatives
from moesift.errors import UserError
from moesift.files import atomic_write
from moesift.launch import files_of_launch
from moesift.live import view
from moesift.models import checkpoints
from moesift.models.batches import micro_batches_by_tokens, require_positions, shuffled_batches
from moesift.models.chat import Encoded, encode, encode_responses
from moesift.models.loading import checkpoint_activations
from moesift.models.routers import freeze_all_but
from moesift.provenance import content, digest
from moesift.training.accelerator import launched
from moesift.training.state import State, States, fingerprint, moments, set_moments, set_values, values
from moesift.training.warmup import Pair, Progress, progress_of, take_step

LOSSES = ("contrast", "nll", "balance", "budget")


def main(
    previous: Path,
    pool: flags.Parquet,
    examples: flags.Parquet,
    out: Path,
    log: Path,
    epoch: int,
    seed: int,
    threads: int,
    micro_batch: int,
    recompute: bool,
    state: Path,
    save_every: float,
    accelerate: Path,
    max_length: int,
    warmup: config.Warmup,
    live: Path | None = None,
) -> None:
    """Read epoch n - 1, the pool and its warm-up examples, write epoch n.

    Args:
        previous: folder of epoch n - 1.
        pool: parquet of the pool.
        examples: parquet of `warmup_examples`.
        out: folder of epoch n to write.
        log: JSON lines to write, one for each optimizer step.
        epoch: n, from 1.
        seed: of the order of the examples and of the negatives.
        threads: CPU threads of a process.
        micro_batch: examples of the longest kind in one forward and backward pass of one process.
        recompute: keep each layer's input only, and compute the rest again in the backward pass.
        state: folder of the states that a killed job resumes from.
        save_every: seconds from one state to the next.
        accelerate: the accelerate configuration file that this process was started with.
        max_length: tokens an example may have.
        warmup: keys objective, balance, learning_rate, batch_size, trash_share, dual_rate, damping, margin, negatives.
        live: folder for TensorBoard's event files; none are written by default.
    """
    torch.set_num_threads(threads)
    accelerator = launched(accelerate, micro_batch, replicated=True)
    selector = checkpoints.load(previous)
    contrastive = warmup.objective == "contrastive"
    trained = selector.trash_can.trash_rows() if contrastive else selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    if recompute:
        checkpoint_activations(selector.model)
    optimizer = torch.optim.AdamW(trained.values(), lr=warmup.learning_rate, weight_decay=0.0)
    layers = len(selector.trash_can.routers)
    after = Progress(torch.tensor(0), torch.zeros(layers), torch.full((layers,), warmup.trash_share))
    if epoch > 1:
        carried = checkpoints.load_optimizer(previous)
        after = progress_of(carried)
        set_moments(carried, optimizer, trained)

    rows = warmup_rows(pool, examples)
    usable = samples_of(rows, selector.tokenizer, max_length, warmup, f"{seed}-{epoch}")
    ids, samples = list(usable), list(usable.values())
    read = [sample if isinstance(sample, Pair) else (sample,) for sample in samples]
    require_positions(selector.model, itertools.chain.from_iterable(read))
    lengths = [len(example.ids) for example, *_ in read]
    batches = shuffled_batches(len(samples), warmup.batch_size, seed, epoch)
    sizes = [sum(lengths[index] for index in batch) * (2 if contrastive else 1) for batch in batches]

    settings = {"seed": seed, "epoch": epoch, "max_length": max_length, "code": digest("stages.warmup_epoch")}
    settings["files"] = content(previous, *files_of_launch(accelerate))
    sums = sorted(value.sum().item() for value in trained.values())
    job = fingerprint(settings | warmup.model_dump(), zip(ids, lengths, strict=True), sums)
    states = States(state, job, accelerator.is_main_process, save_every)
    records: list[dict[str, Any]] = []
    if (resumed := states.newest()) is not None:
        after, records = progress_of(resumed.tensors), resumed.records
        set_values(resumed.tensors, trained)
        set_moments(resumed.tensors, optimizer, trained)
        print(f"resumes after {len(records)} of {len(batches)} steps, from {state}")

    def status() -> str:
        return ", ".join(f"{name} {records[-1][name]:.3f}" for name in LOSSES if name in records[-1])

    started, resumed_at = time.monotonic(), len(records)
    is_main, rank, processes = accelerator.is_main_process, accelerator.process_index, accelerator.num_processes
    name = f"warm-up epoch {epoch}"
    with view(live if is_main else None) as show:
        for batch in progress.steps(batches, sizes, name, start=resumed_at, status=status, shown=is_main):
            step_started = time.monotonic()
            step = [samples[index] for index in batch]
            divided = micro_batches_by_tokens(batch, lengths, micro_batch, rank, processes)
            parts = [[samples[index] for index in part] for part in divided]
            record, after = take_step(accelerator, selector, optimizer, trained, step, parts, warmup, after)
            records.append({"epoch": epoch, **record})
            numbers = curves(record)
            if not all(map(math.isfinite, numbers.values())):
                raise UserError(
                    f"the warm-up diverged at step {record['step']} ({numbers}) on the examples "
                    f"{', '.join(ids[index] for index in batch)}; the last good checkpoint is {previous}; lower "
                    "warmup.learning_rate"
                )
            numbers["learning rate"] = optimizer.param_groups[0]["lr"]
            numbers["tokens per second"] = sizes[len(records) - 1] / (time.monotonic() - step_started)
            show(record["step"], numbers)
            if states.due():
                tensors = after._asdict() | moments(optimizer, trained) | values(trained)
                states.save(State(len(records), tensors, records))

    if is_main:
        with atomic_write(log) as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in records))
        with atomic_write(out) as part:
            checkpoints.save(selector, part, previous, after._asdict() | moments(optimizer, trained))
        states.remove()
        speed = sum(sizes[resumed_at:]) / (time.monotonic() - started)
        print(f"{len(samples)} of {rows.height} examples, {speed:,.0f} tokens/s; at the end {status()}")
    accelerator.end_training()


def warmup_rows(pool: Path, examples: Path) -> pl.DataFrame:
    """Return the rows of the pool that the warm-up trains on, in the order of their draw.

    Raises:
        UserError: the examples were drawn from another pool.
    """
    drawn = pl.scan_parquet(examples).filter(pl.col("place").is_not_null()).select("id", "place").collect()
    columns = pl.scan_parquet(pool).select("id", "source", "messages", "choices", "finished")
    rows = columns.join(drawn.lazy(), on="id", how="inner").collect().sort("place")
    if rows.height != drawn.height:
        raise UserError(f"{examples}: has ids that are not in {pool}; remove it, and run the same command again")
    return rows.drop("place")


def samples_of(
    rows: pl.DataFrame, tokenizer: PreTrainedTokenizerFast, max_length: int, warmup: config.Warmup, seed: str
) -> dict[str, Encoded | Pair]:
    """Return the usable examples by id, each with its corrupted negative if the objective is `contrastive`.

    Args:
        rows: columns id, source, messages, choices and finished.
        tokenizer: of the selector.
        max_length: tokens an example may have.
        warmup: keys objective and negatives.
        seed: of the negatives; another one in each epoch, so that the routers do not memorise them.

    Raises:
        UserError: no example has a response token within `max_length`, or none has a negative.
    """
    messages = rows["messages"].to_list()
    encoded = encode_responses(messages, tokenizer, max_length, rows["finished"].to_list())
    if warmup.objective != "contrastive":
        return {id: example for id, example in zip(rows["id"], encoded, strict=True) if example is not None}
    corrupted = negatives(rows, warmup.negatives, seed)
    both = [
        (id, example, other)
        for id, example, other in zip(rows["id"], encoded, corrupted, strict=True)
        if example is not None and other is not None
    ]
    finished = [other.finished for *_, other in both]
    again = encode([other.turns for *_, other in both], tokenizer, max_length, finished)
    pairs: dict[str, Encoded | Pair] = {
        id: Pair(example, other) for (id, example, _), other in zip(both, again, strict=True) if other.predicted
    }
    if not pairs:
        raise UserError(f"warmup.negatives: {', '.join(warmup.negatives)} apply to no example of the pool")
    return pairs


def curves(record: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a step as the live view names them, the trash shares by layer."""
    losses = {f"loss/{name}": record[name] for name in LOSSES if name in record}
    shares = {f"trash share/layer {layer:02}": share for layer, share in enumerate(record["trash_shares"])}
    return losses | shares | {"gradient norm": record["gradient_norm"]}


if __name__ == "__main__":
    flags.run(main)
