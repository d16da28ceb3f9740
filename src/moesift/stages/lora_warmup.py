"""LoRA-tune the selector on a small part of the pool, and keep each epoch. Started by `accelerate launch`."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import torch
from transformers import set_seed

from moesift import config, flags
from moesift.files import atomic_write
from moesift.launch import files_of_launch
from moesift.live import view
from moesift.models.adapters import add_lora
from moesift.models.batches import require_positions, shuffled_batches
from moesift.models.chat import encode_responses
from moesift.models.gradients import lora_matrices
from moesift.models.loading import checkpoint_activations, load_model
from moesift.models.lora_checkpoints import save_checkpoint
from moesift.provenance import content, digest
from moesift.training.accelerator import launched
from moesift.training.loop import tune
from moesift.training.schedule import rise_and_cosine
from moesift.training.state import State, States, fingerprint


def main(
    model: str,
    pool: flags.Parquet,
    out: Path,
    seed: int,
    threads: int,
    micro_batch: int,
    recompute: bool,
    state: Path,
    save_every: float,
    max_length: int,
    share: float,
    train: config.LoraTrain,
    dtype: config.Dtype | None = None,
    live: Path | None = None,
) -> None:
    """Read the pool and the selector, write a checkpoint of each epoch: LoRA matrices, Adam's moments, learning rate.

    Args:
        model: the selector: a directory or a name on the hub.
        pool: parquet of the pool.
        out: folder of the checkpoints lora-1, lora-2, … to write.
        seed: of the draw, the LoRA matrices, the order of the examples and the dropout.
        threads: CPU threads of a process.
        micro_batch: examples in one forward and backward pass of one process.
        recompute: keep each layer's input only, and compute the rest again in the backward pass.
        state: folder of the states that a killed job resumes from, and of the checkpoints until all are there.
        save_every: seconds from one state to the next.
        max_length: tokens an example may have.
        share: of the pool's examples to train on.
        train: the section gradients.train.
        dtype: precision of the selector; unless given, that of its files.
        live: folder for TensorBoard's event files; none are written by default.
    """
    torch.set_num_threads(threads)
    accelerator = launched(Path(train.accelerate), micro_batch, replicated=True)
    set_seed(seed)

    selector, tokenizer = load_model(model, dtype)
    if recompute:
        checkpoint_activations(selector)
    ranks = (train.lora_rank, train.lora_alpha, train.lora_dropout)
    tuned = add_lora(selector, *ranks, train.lora_targets, section="gradients.train")
    lora_matrices(selector)  # refuses here what no gradient can be computed for later
    examples = pl.scan_parquet(pool).select("id", "messages", "finished")
    height = examples.select(pl.len()).collect().item()
    drawn = np.random.default_rng(seed).permutation(height)[: max(1, round(share * height))]
    rows = examples.with_row_index().filter(pl.col("index").is_in(drawn.tolist())).collect()
    encoded = encode_responses(rows["messages"].to_list(), tokenizer, max_length, rows["finished"].to_list())
    usable = {id: example for id, example in zip(rows["id"], encoded, strict=True) if example is not None}
    ids, responses = list(usable), list(usable.values())
    require_positions(selector, responses)
    epochs = [shuffled_batches(len(responses), train.batch_size, seed, epoch) for epoch in range(train.epochs)]
    batches = [batch for epoch in epochs for batch in epoch]
    rates = [train.learning_rate * rise_and_cosine(n, len(batches), train.warmup_ratio) for n in range(len(batches))]
    steps = len(epochs[0])

    def keep(reached: State) -> None:
        if accelerator.is_main_process:
            epoch = reached.step // steps
            settings = {
                "epoch": epoch,
                "learning_rate": float(np.mean(rates[reached.step - steps : reached.step])),
                "examples": len(responses),
                "nll_per_step": reached.records["nll_per_step"][-steps:],
            }
            with atomic_write(state / f"lora-{epoch}") as part:
                save_checkpoint(tuned, reached.tensors, settings, part)

    settings = {"seed": seed, "max_length": max_length, "model": model, **train.model_dump(mode="json")}
    made_by = {"code": digest("stages.lora_warmup"), "files": content(model, *files_of_launch(train.accelerate))}
    job = fingerprint(settings | made_by, [example.ids for example in responses])
    states = States(state, job, accelerator.is_main_process, save_every)
    with view(live if accelerator.is_main_process else None) as show:
        _, losses, _ = tune(
            accelerator,
            tuned,
            ids,
            responses,
            batches,
            tokenizer.pad_token_id,
            learning_rate=train.learning_rate,
            warmup_ratio=train.warmup_ratio,
            seed=seed,
            micro_batch=micro_batch,
            states=states,
            marks=range(steps, len(batches) + 1, steps),
            at_mark=keep,
            show=show,
        )
    if accelerator.is_main_process:
        for epoch in range(1, train.epochs + 1):
            with atomic_write(out / f"lora-{epoch}") as part:
                shutil.copytree(state / f"lora-{epoch}", part)
        states.remove()
        print(f"{len(responses)} examples, {len(batches)} steps, NLL per token {losses[0]:.3f} to {losses[-1]:.3f}")
    accelerator.end_training()


if __name__ == "__main__":
    flags.run(main)
