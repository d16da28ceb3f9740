"""One epoch of the warm-up: train the routers, and nothing else, on the pool.

The loss of each objective:

budget        CE(response) + alpha * load balance + sum over layers l of price_l * (trash share_l - rho). The signed
              penalties follow the trash shares of the step before by dual ascent, damped.
lm            CE(response) + alpha * load balance
contrastive   softplus(margin - (S(x) - S(x'))) with S the quality score and x' the corrupted negative of x. The trash-can
              experts are left out of the model's own computation and their rows alone are trained.

All terms are sums over examples, so the passes and processes that a step is divided into do not change it. Started by
`accelerate launch`: every process holds the selector and computes its part of a step, as the routers alone are trained.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import PreTrainedTokenizerFast, set_seed

from moesift import config, flags, live
from moesift.data.corruption import negatives
from moesift.data.pool import warmup_examples
from moesift.errors import UserError, run
from moesift.files import atomic_write, parquet
from moesift.models import checkpoints
from moesift.models.batches import micro_batches_by_tokens, shuffled_batches
from moesift.models.chat import Encoded, encode, encode_responses
from moesift.models.loading import checkpoint_activations
from moesift.models.routers import freeze_all_but
from moesift.progress import steps
from moesift.provenance import digest
from moesift.training import state
from moesift.training.accelerator import launched
from moesift.training.objectives import dual_update, penalties
from moesift.training.schedule import MAX_GRADIENT_NORM
from moesift.training.warmup import (
    Pair,
    Progress,
    Weights,
    accumulate_contrast,
    accumulate_gradients,
    from_tensors,
    summed,
    to_tensors,
)

# Of the flags, what makes no other result; the rest tells one job from another.
ELSEWHERE = ("out", "log", "state", "threads", "micro_batch", "recompute", "save_every", "live", "accelerate")
RISE = 20  # optimizer steps of the first epoch in which the learning rate rises; constant after, whatever the epochs


def main() -> None:
    """Read epoch n - 1 and the pool, write epoch n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--previous", type=Path, required=True, help="directory of epoch n - 1")
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--out", type=Path, required=True, help="directory of epoch n")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines, one an optimizer step")
    parser.add_argument("--epoch", type=int, required=True, help="n, from 1")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--micro-batch", type=int, required=True, help="examples in one forward and backward pass")
    parser.add_argument("--recompute", type=int, choices=(0, 1), required=True, help="activation checkpointing")
    parser.add_argument("--state", type=Path, required=True, help="directory to go on from, if this job was killed")
    parser.add_argument("--save-every", type=float, required=True, help="seconds between two states")
    parser.add_argument("--live", type=Path, help="folder for TensorBoard's event files; without it there are none")
    flags.add(parser, config.Data, "max_length")
    flags.add(parser, config.Warmup, "accelerate", "objective", "examples", "balance", "learning_rate", "batch_size")
    flags.add(parser, config.Warmup, "trash_share", "dual_rate", "damping", "margin", "negatives")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    accelerator = launched(Path(args.accelerate), args.micro_batch, replicated=True)
    set_seed(args.seed)

    selector = checkpoints.load(args.previous)
    contrastive = args.objective == "contrastive"
    trained = selector.trash_can.trash_rows() if contrastive else selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    if args.recompute:
        checkpoint_activations(selector.model)
    optimizer = torch.optim.AdamW(trained.values(), lr=args.learning_rate, weight_decay=0.0)
    layers = len(selector.trash_can.routers)
    if args.epoch == 1:
        progress = Progress(0, torch.zeros(layers), torch.full((layers,), args.trash_share))
    else:
        carried = checkpoints.load_optimizer(args.previous)
        progress = from_tensors(carried)
        state.set_moments(carried, optimizer, trained)

    pool = warmup_examples(
        pl.read_parquet(args.pool, columns=["id", "source", "messages", "choices", "finished"]),
        args.examples,
        args.seed,
    )
    encoded = encode_responses(
        pool["messages"].to_list(), selector.tokenizer, args.max_length, pool["finished"].to_list()
    )
    given = paired(pool, encoded, selector.tokenizer, args) if contrastive else encoded
    ids, samples = zip(*((id, sample) for id, sample in zip(pool["id"], given, strict=True) if sample), strict=True)
    lengths = [len(sample.example.ids if contrastive else sample.ids) for sample in samples]

    batches = shuffled_batches(len(samples), args.batch_size, args.seed, args.epoch)
    made_by = {key: value for key, value in vars(args).items() if key not in ELSEWHERE} | {
        "code": digest("warmup_epoch")
    }
    job = state.fingerprint(
        made_by, zip(ids, lengths, strict=True), sorted(value.sum().item() for value in trained.values())
    )
    if accelerator.is_main_process:
        state.claim(args.state)
    records: list[dict[str, Any]] = []
    if (reached := state.newest(args.state, job)) is not None:
        progress, records = from_tensors(reached.tensors), reached.told
        state.set_values(reached.tensors, trained)
        state.set_moments(reached.tensors, optimizer, trained)
        print(f"goes on after {len(records)} of {len(batches)} steps, from {args.state}")
    main = accelerator.is_main_process
    named = ("contrast",) if contrastive else ("nats", "balance", "budget")
    sizes = [sum(lengths[index] for index in batch) * (2 if contrastive else 1) for batch in batches]

    def told() -> str:
        return ", ".join(f"{name} {records[-1][name]:.3f}" for name in named)

    reused = len(records)  # steps of a job that was killed
    started = saved = time.monotonic()
    with live.view(args.live if main else None) as show:
        name = f"warm-up epoch {args.epoch}"
        for batch in steps(batches, sizes, name, start=len(records), told=told, shown=main):
            began = time.monotonic()
            step = [samples[index] for index in batch]
            own = micro_batches_by_tokens(
                batch, lengths, args.micro_batch, accelerator.process_index, accelerator.num_processes
            )
            parts = [[samples[index] for index in part] for part in own]
            multipliers = progress.multipliers
            if contrastive:
                contrast, shares = accumulate_contrast(selector, step, parts, args.margin)
                losses = {"contrast": contrast}
            else:
                cost = penalties(multipliers, progress.shares, args.trash_share, args.damping)
                if args.objective == "lm":
                    cost = torch.zeros(layers)
                terms = accumulate_gradients(selector, step, parts, Weights(args.balance, cost))
                losses, shares = {"nats": terms.nats, "balance": terms.balance}, terms.shares
            totals = summed(accelerator, trained.values(), torch.tensor([*losses.values(), *shares]))
            losses = dict(zip(losses, totals.tolist(), strict=False))
            shares = totals[len(losses) :]  # (L,)
            if not contrastive:
                losses["budget"] = (cost * (shares - args.trash_share)).sum().item()
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), MAX_GRADIENT_NORM).item()
            if not math.isfinite(sum(losses.values()) + norm):
                raise UserError(
                    f"the warm-up diverged at step {progress.steps} (losses {losses}, gradient norm {norm}) on the "
                    f"examples {', '.join(ids[i] for i in batch)}; the last good checkpoint is {args.previous}; lower "
                    "warmup.learning_rate"
                )
            records.append(
                {
                    "epoch": args.epoch,
                    "step": progress.steps,
                    **losses,
                    "trash_shares": shares.tolist(),
                    "multipliers": multipliers.tolist(),
                    "gradient_norm": norm,
                }
            )
            rate = optimizer.param_groups[0]["lr"] = args.learning_rate * min(1.0, (progress.steps + 1) / RISE)
            optimizer.step()
            optimizer.zero_grad()
            if args.objective == "budget":
                multipliers = dual_update(multipliers, shares, args.trash_share, args.dual_rate)
            progress = Progress(progress.steps + 1, multipliers, shares)
            speed = sizes[len(records) - 1] / (time.monotonic() - began)
            show(records[-1]["step"], numbers(records[-1]) | {"learning rate": rate, "tokens per second": speed})
            if main and time.monotonic() - saved >= args.save_every:
                tensors = to_tensors(progress) | state.moments(optimizer, trained) | state.values(trained)
                state.save(args.state, job, state.State(progress.steps, tensors, records))
                saved = time.monotonic()

    if main:
        with atomic_write(args.log) as part:
            part.write_text("".join(json.dumps(record) + "\n" for record in records))
        with atomic_write(args.out) as part:
            checkpoints.save(selector, part, args.previous, to_tensors(progress) | state.moments(optimizer, trained))
        state.remove(args.state)
        speed = sum(sizes[reused:]) / (time.monotonic() - started)
        print(f"{len(samples)} of {pool.height} examples, {speed:,.0f} tokens/s; at the end {told()}")
    accelerator.end_training()


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """Return what the live view shows of a line of the log, the trash shares by layer."""
    losses = {f"loss/{name}": record[name] for name in ("contrast", "nats", "balance", "budget") if name in record}
    shares = {f"trash share/layer {layer:02}": share for layer, share in enumerate(record["trash_shares"])}
    return losses | shares | {"gradient norm": record["gradient_norm"]}


def paired(
    pool: pl.DataFrame,
    encoded: Sequence[Encoded | None],
    tokenizer: PreTrainedTokenizerFast,
    args: argparse.Namespace,
) -> list[Pair | None]:
    """Return each example with its negative, None where either has nothing to score.

    Raises:
        UserError: no example has a negative.
    """
    # New negatives in every epoch, so that the routers do not learn them by heart.
    corrupted = negatives(pool, args.negatives, f"{args.seed}-{args.epoch}")
    turns = [
        negative.turns if negative else original for negative, original in zip(corrupted, pool["messages"].to_list(), strict=True)
    ]
    again = encode(turns, tokenizer, args.max_length, [negative is None or negative.finished for negative in corrupted])
    pairs = [
        Pair(example, other) if negative and example and other.predicted else None
        for example, other, negative in zip(encoded, again, corrupted, strict=True)
    ]
    if not any(pairs):
        raise UserError(f"warmup.negatives: {', '.join(args.negatives)} can be made of no example of the pool")
    return pairs


if __name__ == "__main__":
    run(main)
