"""Tune the target on a selection, by LoRA or in full. Started by `accelerate launch`, on one process or several."""

import json
from pathlib import Path

import polars as pl
import torch
from transformers import set_seed

from moesift import config, flags
from moesift.files import atomic_write
from moesift.launch import files_of_launch
from moesift.live import view
from moesift.models.batches import require_positions, shuffled_batches
from moesift.models.chat import encode_responses
from moesift.models.loading import checkpoint_activations, load_model
from moesift.models.tuning import TUNINGS
from moesift.provenance import content, digest, versions
from moesift.training.accelerator import keep_blocks_whole, launched
from moesift.training.loop import tune
from moesift.training.state import States, fingerprint


def main(
    model: str,
    selection: flags.Parquet,
    out: Path,
    seed: int,
    threads: int,
    micro_batch: int,
    recompute: bool,
    state: Path,
    save_every: float,
    max_length: int,
    train: config.Train,
    dtype: config.Dtype | None = None,
    live: Path | None = None,
) -> None:
    """Read the selection and the target, write the adapter, or the tuned model, and training.json.

    Args:
        model: the target: a directory or a name on the hub.
        selection: parquet of `select`.
        out: folder to write.
        seed: of the LoRA matrices, the order of the examples and the dropout.
        threads: CPU threads of a process.
        micro_batch: examples in one forward and backward pass of one process.
        recompute: keep each layer's input only, and compute the rest again in the backward pass.
        state: folder of the states that a killed job resumes from.
        save_every: seconds from one state to the next.
        max_length: tokens an example may have.
        train: the section, without the keys that its method does not read.
        dtype: precision of the target; unless given, that of its files.
        live: folder for TensorBoard's event files; none are written by default.
    """
    torch.set_num_threads(threads)
    accelerator = launched(Path(train.accelerate), micro_batch)
    set_seed(seed)

    target, tokenizer = load_model(model, dtype)
    keep_blocks_whole(accelerator, target)
    if recompute:
        checkpoint_activations(target)
    tuned, save = TUNINGS[train.method](target, tokenizer, train)
    rows = pl.read_parquet(selection, columns=["id", "messages", "finished"])
    encoded = encode_responses(rows["messages"].to_list(), tokenizer, max_length, rows["finished"].to_list())
    usable = {id: example for id, example in zip(rows["id"], encoded, strict=True) if example is not None}
    examples = list(usable.values())
    require_positions(target, examples)
    epochs = (shuffled_batches(len(examples), train.batch_size, seed, epoch) for epoch in range(train.epochs))
    batches = [batch for epoch in epochs for batch in epoch]

    settings = {"seed": seed, "max_length": max_length, "model": model, "dtype": dtype, "selection": str(selection)}
    settings |= train.model_dump(mode="json")
    made_by = {"code": digest("stages.train_adapter"), "files": content(model, *files_of_launch(train.accelerate))}
    job = fingerprint(settings | made_by, [example.ids for example in examples])
    states = States(state, job, accelerator.is_main_process, save_every)
    with view(live if accelerator.is_main_process else None) as show:
        trained, losses, seconds = tune(
            accelerator,
            tuned,
            list(usable),
            examples,
            batches,
            tokenizer.pad_token_id,
            learning_rate=train.learning_rate,
            warmup_ratio=train.warmup_ratio,
            seed=seed,
            micro_batch=micro_batch,
            states=states,
            show=show,
        )

    weights = accelerator.get_state_dict(trained)  # gathers what ZeRO-3 has spread over the processes
    if accelerator.is_main_process:
        record = {
            "settings": settings,
            "examples": len(examples),
            "left_out": len(encoded) - len(examples),
            "steps": len(batches),
            "nll_per_step": losses,
            "processes": accelerator.num_processes,
            "distributed": accelerator.distributed_type.value,
            "seconds": seconds,
            "versions": versions(),
        }
        with atomic_write(out) as part:
            save(accelerator.unwrap_model(trained), weights, part)
            (part / "training.json").write_text(json.dumps(record, indent=2) + "\n")
        states.remove()
        print(f"{len(examples)} examples, {len(batches)} steps, NLL per token {losses[0]:.3f} to {losses[-1]:.3f}")
    accelerator.end_training()


if __name__ == "__main__":
    flags.run(main)
