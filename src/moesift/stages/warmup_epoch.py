"""One epoch of the warm-up: train the routers, and nothing else, on the pool.

The loss is L = CE(response) + alpha * load balance + sum over layers l of mu_l * (trash share_l - rho), with dual
ascent on the signed multipliers mu_l after each step. All three terms are sums over examples, so the passes that a step
is divided into do not change it.
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
from moesift.batches import collate, micro_batches, shuffled_batches
from moesift.chat import encode_responses
from moesift.errors import UserError, run
from moesift.objectives import ascend, load_balance, response_nats, trash_shares
from moesift.routers import freeze_all_but
from moesift.training import MAX_GRADIENT_NORM

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
    flags.add(parser, config.Warmup, "examples", "trash_share", "dual_rate", "balance", "learning_rate", "batch_size")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    set_seed(args.seed)

    selector = checkpoints.load(args.previous)
    trained = selector.trash_can.parameters()
    freeze_all_but(selector.model, trained)
    optimizer = torch.optim.AdamW(trained.values(), lr=args.learning_rate, weight_decay=0.0)
    multipliers, steps_before = restore(optimizer, trained, checkpoints.load_optimizer(args.previous))

    pool = pl.read_parquet(args.pool, columns=["id", "messages"])
    if args.examples is not None and args.examples < pool.height:
        pool = pool.sample(args.examples, seed=args.seed)  # the same examples in every epoch
    encoded = encode_responses(pool["messages"].to_list(), selector.tokenizer, args.max_length)
    ids, examples = zip(*((i, example) for i, example in zip(pool["id"], encoded, strict=True) if example), strict=True)
    lengths = [len(example.ids) for example in examples]
    layers = len(selector.trash_can.routers)
    multipliers = torch.zeros(layers) if multipliers is None else multipliers

    started = time.monotonic()
    with args.log.open("w") as log:
        batches = shuffled_batches(len(examples), args.batch_size, args.seed, args.epoch)
        for step, indices in enumerate(tqdm(batches, desc=f"warm-up epoch {args.epoch}", disable=None), steps_before):
            optimizer.param_groups[0]["lr"] = args.learning_rate * min(1.0, (step + 1) / RISE)
            tokens = sum(examples[index].predicted for index in indices)
            nats, balance, shares = 0.0, 0.0, torch.zeros(layers)
            for part in micro_batches(indices, lengths, args.micro_batch, process=0, processes=1):
                batch = collate([examples[index] for index in part], selector.tokenizer.pad_token_id)
                batch = batch.to(selector.model.device)
                logits = selector.model(batch.ids, attention_mask=batch.attention, use_cache=False).logits  # (B, T, V)
                routings = list(selector.trash_can.routing.values())
                signals = selector.trash_can.signals(batch.ids.shape)  # (L, B, T)
                counted = batch.response.clone()  # (B, T)
                counted[:, 0] = False  # the tokens whose prediction is judged, as in the cross-entropy
                part_nats = response_nats(logits, batch).sum() / tokens
                part_shares = trash_shares(signals, counted) / tokens  # (L,)
                part_balance = sum(load_balance(r, batch.attention).sum() for r in routings) / (layers * len(indices))
                budget = (multipliers.to(part_shares.device) * part_shares).sum()
                (part_nats + args.balance * part_balance + budget).backward()
                nats += part_nats.item()
                balance += part_balance.item()
                shares += part_shares.detach().cpu()
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), MAX_GRADIENT_NORM).item()
            record = {
                "epoch": args.epoch,
                "step": step,
                "nats": nats,
                "balance": balance,
                "budget": (multipliers * (shares - args.trash_share)).sum().item(),
                "trash_shares": shares.tolist(),
                "multipliers": multipliers.tolist(),
                "gradient_norm": norm,
            }
            log.write(json.dumps(record) + "\n")
            if not math.isfinite(nats + balance + norm):
                raise UserError(
                    f"warm-up diverged at step {step} (loss {nats}, gradient norm {norm}) on the examples "
                    f"{', '.join(ids[index] for index in indices)}; the last good checkpoint is {args.previous}; lower "
                    "warmup.learning_rate or warmup.dual_rate"
                )
            optimizer.step()
            optimizer.zero_grad()
            multipliers = ascend(multipliers, shares, args.trash_share, args.dual_rate)

    checkpoints.save(
        selector, args.out, args.previous, state_of(optimizer, trained, multipliers, steps_before + len(batches))
    )
    rate = sum(lengths) / (time.monotonic() - started)
    print(
        f"{len(examples)} examples, {rate:,.0f} tokens/s, last trash share {shares.mean():.3f}, {nats:.3f} nats/token"
    )


def state_of(
    optimizer: torch.optim.Optimizer, trained: dict[str, torch.nn.Parameter], multipliers: torch.Tensor, steps: int
) -> dict[str, torch.Tensor]:
    """Return Adam's moments by parameter name, the multipliers and the number of steps, all as tensors."""
    state = {"multipliers": multipliers, "steps": torch.tensor(steps)}
    for name, parameter in trained.items():
        state |= {f"{key}/{name}": value.cpu() for key, value in optimizer.state[parameter].items()}
    return state


def restore(
    optimizer: torch.optim.Optimizer, trained: dict[str, torch.nn.Parameter], state: dict[str, torch.Tensor]
) -> tuple[torch.Tensor | None, int]:
    """Put back what `state_of` returned; give the multipliers (None after epoch 0) and the steps made so far."""
    if not state:
        return None, 0
    for name, parameter in trained.items():
        optimizer.state[parameter] = {
            key: state[f"{key}/{name}"].to(parameter.device if key != "step" else "cpu")
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
    return state["multipliers"], int(state["steps"])


if __name__ == "__main__":
    run(main)
