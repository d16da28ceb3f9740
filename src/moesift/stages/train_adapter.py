"""LoRA-tune the target on a selection. Started by `accelerate launch`, on one process or many."""

import argparse
import contextlib
import json
import time
from pathlib import Path

import polars as pl
import torch
from accelerate import Accelerator
from transformers import set_seed

from moesift import config, flags, live, progress
from moesift.errors import run
from moesift.files import atomic_write, parquet
from moesift.models.adapters import add_lora
from moesift.models.batches import collate, micro_batches, shuffled_batches
from moesift.models.chat import Encoded, encode_responses
from moesift.models.loading import checkpoint_activations, load_model
from moesift.provenance import digest, versions
from moesift.training import state
from moesift.training.accelerator import REPLICATED, kind, launched
from moesift.models.losses import response_nll
from moesift.training.schedule import MAX_GRADIENT_NORM, rise_and_cosine

# Of the flags, what makes no other result; the rest tells one job from another.
ELSEWHERE = ("out", "state", "threads", "micro_batch", "recompute", "save_every", "live")


def main() -> None:
    """Read the selection and the target, write the adapter and how it was made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the target: a directory or a name on the hub")
    parser.add_argument("--selection", type=parquet, required=True)
    parser.add_argument("--out", type=Path, required=True, help="directory of the adapter")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--micro-batch", type=int, required=True, help="examples in one pass of one process")
    parser.add_argument("--recompute", type=int, choices=(0, 1), required=True, help="activation checkpointing")
    parser.add_argument("--state", type=Path, required=True, help="directory to go on from, if this job was killed")
    parser.add_argument("--save-every", type=float, required=True, help="seconds between two states")
    parser.add_argument("--live", type=Path, help="folder for TensorBoard's event files; without it there are none")
    flags.add(parser, config.Data, "max_length")
    flags.add(parser, config.Train, "accelerate", "epochs", "learning_rate", "warmup_ratio", "batch_size")
    flags.add(parser, config.Train, "lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    accelerator = launched(Path(args.accelerate), args.micro_batch)
    set_seed(args.seed)

    model, tokenizer = load_model(args.model)
    if args.recompute:
        checkpoint_activations(model)
    model = add_lora(model, args.lora_rank, args.lora_alpha, args.lora_dropout, args.lora_targets)
    selection = pl.read_parquet(args.selection, columns=["messages", "finished"])
    encoded = encode_responses(
        selection["messages"].to_list(), tokenizer, args.max_length, selection["finished"].to_list()
    )
    examples = [example for example in encoded if example is not None]
    batches = [
        batch
        for epoch in range(args.epochs)
        for batch in shuffled_batches(len(examples), args.batch_size, args.seed, epoch)
    ]
    with live.view(args.live if accelerator.is_main_process else None) as show:
        model, losses, seconds = tune(accelerator, model, examples, batches, tokenizer.pad_token_id, args, show)

    weights = accelerator.get_state_dict(model)  # gathers what ZeRO-3 has spread over the processes
    if accelerator.is_main_process:
        made = {
            "settings": {key: value for key, value in vars(args).items() if key not in ELSEWHERE},
            "examples": len(examples),
            "left_out": len(encoded) - len(examples),
            "steps": len(batches),
            "nll_per_step": losses,
            "processes": accelerator.num_processes,
            "distributed": accelerator.distributed_type.value,
            "seconds": seconds,
            "versions": versions(),
        }
        with atomic_write(args.out) as part:
            accelerator.unwrap_model(model).save_pretrained(part, state_dict=weights)
            (part / "README.md").unlink()  # peft's empty form; `adapter_cards` writes the card
            (part / "training.json").write_text(json.dumps(made, indent=2, default=str) + "\n")
        state.remove(args.state)
        print(f"{len(examples)} examples, {len(batches)} steps, {losses[0]:.3f} to {losses[-1]:.3f} nats per token")
    accelerator.end_training()


def tune(
    accelerator: Accelerator,
    model: torch.nn.Module,
    examples: list[Encoded],
    batches: list[list[int]],
    pad_id: int,
    args: argparse.Namespace,
    show: live.Show,
) -> tuple[torch.nn.Module, list[float], float]:
    """Train the parameters that require gradients.

    Within a step each response token weighs the same, in whichever pass and process it is computed. Where a process
    holds the whole model, a training that was killed goes on from its last state.

    Returns:
        The prepared model, each step's nats per response token, and the seconds that all steps took, also those before
        the job was killed.
    """
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(named.values(), lr=args.learning_rate, weight_decay=0.0)
    lengths = [len(example.ids) for example in examples]
    made_by = {key: value for key, value in vars(args).items() if key not in ELSEWHERE}
    job = state.fingerprint(made_by | {"code": digest("train_adapter")}, [example.ids for example in examples])
    losses, before = list[float](), 0.0
    replicated = kind(accelerator) in REPLICATED
    if accelerator.is_main_process:
        state.claim(args.state)
    if replicated and (reached := state.newest(args.state, job)) is not None:
        losses, before = reached.told["nats"], reached.told["seconds"]
        state.set_values(reached.tensors, named)
        state.set_moments(reached.tensors, optimizer, named)
        print(f"goes on after {len(losses)} of {len(batches)} steps, from {args.state}")
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    # FSDP2 has put others in the place of the named ones, which then have no gradients.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    started = saved = time.monotonic()
    sizes = [sum(lengths[index] for index in batch) for batch in batches]
    left = progress.steps(
        batches,
        sizes,
        "train",
        start=len(losses),
        told=lambda: f"{losses[-1]:.3f} nats",
        shown=accelerator.is_main_process,
    )
    for step, batch in enumerate(left, start=len(losses)):
        began = time.monotonic()
        # Of the dropout, so that a step owes nothing to those before it.
        torch.manual_seed(args.seed + step * accelerator.num_processes + accelerator.process_index)
        rate = args.learning_rate * rise_and_cosine(step, len(batches), args.warmup_ratio)
        for group in optimizer.param_groups:
            group["lr"] = rate
        tokens = sum(examples[index].predicted for index in batch)
        nats = torch.zeros((), device=accelerator.device)
        parts = micro_batches(batch, lengths, args.micro_batch, accelerator.process_index, accelerator.num_processes)
        for number, part in enumerate(parts, start=1):
            padded = collate([examples[index] for index in part], pad_id).to(accelerator.device)
            accelerator.sync_gradients = number == len(parts)
            with contextlib.nullcontext() if accelerator.sync_gradients else accelerator.no_sync(model):
                logits = model(padded.ids, use_cache=False, logits_to_keep=padded.predicting).logits  # (B, P, V)
                loss = response_nll(logits, padded).sum() / tokens
                # Gradients are averaged over processes, but this loss is a sum over them.
                accelerator.backward(loss * accelerator.num_processes)
            nats += loss.detach()
        accelerator.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(accelerator.reduce(nats, "sum").item())
        speed = sizes[step] / (time.monotonic() - began)
        show(step, {"nats per token": losses[-1], "learning rate": rate, "tokens per second": speed})
        if replicated and accelerator.is_main_process and time.monotonic() - saved >= args.save_every:
            tensors = state.values(named) | state.moments(optimizer, named)
            said = {"nats": losses, "seconds": before + time.monotonic() - started}
            state.save(args.state, job, state.State(step + 1, tensors, said))
            saved = time.monotonic()
    return model, losses, before + time.monotonic() - started


if __name__ == "__main__":
    run(main)
