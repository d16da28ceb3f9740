"""One epoch of the warm-up: train the routers, and nothing else, on the pool.

The loss of each objective, with alpha * load balance added to all of them:

budget        CE(response) + sum over layers l of price_l * (trash share_l - rho). The signed prices follow the trash
              shares of the step before by dual ascent, damped.
contrastive   CE(response) + softplus(margin - (S(x) - S(x'))) with S the quality score and x' the corrupted twin of x
lm            CE(response)

All terms are sums over examples, so the passes that a step is divided into do not change it.
"""

import argparse
import json
import math
import time
from pathlib import Path

import polars as pl
import torch
from tqdm import tqdm
from transformers import set_seed

from moesift import checkpoints, config, flags
from moesift.batches import micro_batches, shuffled_batches
from moesift.chat import Encoded, encode, encode_responses
from moesift.corruption import twins
from moesift.errors import UserError, run
from moesift.objectives import ascend, prices
from moesift.pool import warmup_examples
from moesift.routers import freeze_all_but
from moesift.training import MAX_GRADIENT_NORM
from moesift.warmup import Progress, Sample, Weights, accumulate_gradients, from_tensors, to_tensors

RISE = 20  # optimizer steps of the first epoch in which the learning rate rises; constant after, whatever the epochs


def main() -> None:
    """Read epoch n - 1 and the pool, write epoch n."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--previous", type=Path, required=True, help="directory of epoch n - 1")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="directory of epoch n")
    parser.add_argument("--log", type=Path, required=True, help="JSON lines, one an optimizer step")
    parser.add_argument("--epoch", type=int, required=True, help="n, from 1")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--micro-batch", type=int, required=True, help="examples in one forward and backward pass")
    flags.add(parser, config.Data, "max_length")
    flags.add(parser, config.Warmup, "objective", "examples", "balance", "learning_rate", "batch_size")
    flags.add(parser, config.Warmup, "trash_share", "dual_rate", "damping", "margin", "twins")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    set_seed(args.seed)

    selector = checkpoints.load(args.previous)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=args.learning_rate, weight_decay=0.0)
    layers = len(selector.trash_can.routers)
    if args.epoch == 1:
        progress = Progress(0, torch.zeros(layers), torch.full((layers,), args.trash_share))
    else:
        progress = from_tensors(checkpoints.load_optimizer(args.previous), optimizer, trained)

    pool = warmup_examples(
        pl.read_parquet(args.pool, columns=["id", "source", "messages", "choices"]), args.examples, args.seed
    )
    encoded = encode_responses(pool["messages"].to_list(), selector.tokenizer, args.max_length)
    corrupted: list[Encoded | None] = [None] * pool.height
    if args.objective == "contrastive":
        # New twins in every epoch, so that the routers do not learn them by heart.
        found = twins(pool, args.twins, f"{args.seed}-{args.epoch}")
        messages = [turns or original for turns, original in zip(found, pool["messages"].to_list(), strict=True)]
        again = encode(messages, selector.tokenizer, args.max_length)
        corrupted = [twin if turns and twin.predicted else None for turns, twin in zip(found, again, strict=True)]
    ids, samples = zip(
        *(
            (id, Sample(example, twin))
            for id, example, twin in zip(pool["id"], encoded, corrupted, strict=True)
            if example
        ),
        strict=True,
    )
    lengths = [len(sample.example.ids) for sample in samples]

    started = time.monotonic()
    with args.log.open("w") as log:
        for batch in tqdm(
            shuffled_batches(len(samples), args.batch_size, args.seed, args.epoch),
            desc=f"warm-up epoch {args.epoch}",
            disable=None,
        ):
            parts = micro_batches(batch, lengths, args.micro_batch, process=0, processes=1)
            cost = prices(progress.multipliers, progress.shares, args.trash_share, args.damping)
            if args.objective != "budget":
                cost = torch.zeros(layers)
            weights = Weights(1.0, args.balance, cost, contrast=float(args.objective == "contrastive"))
            terms = accumulate_gradients(selector, [[samples[i] for i in part] for part in parts], weights, args.margin)
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), MAX_GRADIENT_NORM).item()
            record = {
                "epoch": args.epoch,
                "step": progress.steps,
                "nats": terms.nats,
                "balance": terms.balance,
                "budget": (cost * (terms.shares - args.trash_share)).sum().item(),
                "contrast": terms.contrast,
                "trash_shares": terms.shares.tolist(),
                "multipliers": progress.multipliers.tolist(),
                "gradient_norm": norm,
            }
            log.write(json.dumps(record) + "\n")
            if not math.isfinite(terms.nats + terms.balance + terms.contrast + norm):
                raise UserError(
                    f"the warm-up diverged at step {progress.steps} (loss {terms.nats}, gradient norm {norm}) on the "
                    f"examples {', '.join(ids[i] for i in batch)}; the last good checkpoint is {args.previous}; lower "
                    "warmup.learning_rate"
                )
            optimizer.param_groups[0]["lr"] = args.learning_rate * min(1.0, (progress.steps + 1) / RISE)
            optimizer.step()
            optimizer.zero_grad()
            multipliers = progress.multipliers
            if args.objective == "budget":
                multipliers = ascend(multipliers, terms.shares, args.trash_share, args.dual_rate)
            progress = Progress(progress.steps + 1, multipliers, terms.shares)

    checkpoints.save(selector, args.out, args.previous, to_tensors(progress, optimizer, trained))
    rate = sum(lengths) / (time.monotonic() - started)
    print(f"{len(samples)} of {pool.height} examples, {rate:,.0f} tokens/s, {terms.nats:.3f} nats per response token")


if __name__ == "__main__":
    run(main)
