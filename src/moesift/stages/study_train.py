"""Tune the target on each part of a case's pool, on as many tokens each, and measure it on clean held-out examples."""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import polars as pl
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerFast, set_seed

from moesift import config, flags, progress
from moesift.data.corruption import CLEAN
from moesift.errors import UserError, run
from moesift.files import parquet, whole
from moesift.models.adapters import add_lora
from moesift.models.batches import collate, micro_batches, shuffled_batches
from moesift.models.chat import Encoded, encode
from moesift.models.loading import load_model
from moesift.provenance import versions
from moesift.scoring import losses
from moesift.study.arms import chosen
from moesift.training.objectives import response_nats
from moesift.training.schedule import MAX_GRADIENT_NORM, rise_and_cosine

MICRO_BATCH = 8  # examples in a pass; those of like length go together


def main() -> None:
    """Read a case and its target, write the held-out losses of every arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the target: a directory or a name on the hub")
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--heldout", type=parquet, required=True)
    parser.add_argument("--scores", type=parquet, nargs="+", required=True, help=".../{method}.parquet")
    parser.add_argument("--out", type=Path, required=True, help="parquet: one row an arm, a ratio and an example")
    parser.add_argument("--log", type=Path, required=True, help="JSON: one entry an arm and a ratio")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--token-budget", type=int, required=True, help="tokens in a batch where nothing is trained")
    flags.add(parser, config.Study, "arms", "default", "reject", "ratios", "tokens")
    flags.add(parser, config.Data, "max_length")
    flags.add(parser, config.Train, "learning_rate", "warmup_ratio", "batch_size")
    flags.add(parser, config.Train, "lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    pool, heldout = pl.read_parquet(args.pool), pl.read_parquet(args.heldout)
    scores = {path.stem: pl.read_parquet(path, columns=["id", "score"]) for path in args.scores}
    target, tokenizer = load_model(args.model)
    set_seed(args.seed)
    model = add_lora(target, args.lora_rank, args.lora_alpha, args.lora_dropout, args.lora_targets)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    initial = {name: value.detach().clone() for name, value in trained.items()}
    encoded = encode(pool["messages"].to_list(), tokenizer, args.max_length, pool["finished"].to_list())
    examples = dict(zip(pool["id"], encoded, strict=True))
    spoilt = set(pool.filter(pl.col("corruption") != CLEAN)["id"])
    questions = answers(heldout, tokenizer, args.max_length)

    grid = [(arm, ratio) for arm in args.arms if arm != "full" for ratio in args.ratios]
    grid += [("full", 1.0)] if "full" in args.arms else []
    # All of them before any is trained, so that an arm that cannot be run is known at once.
    parts = [
        (arm, ratio, chosen(arm, scores, pool, ratio, args.seed, (args.default, args.reject))) for arm, ratio in grid
    ]
    frames, runs = [], []
    sizes = [0, *[args.tokens] * len(parts)]
    for arm, ratio, kept in progress.steps([("base", None, []), *parts], sizes, "arms"):
        started = time.monotonic()
        set_seed(args.seed)  # of the dropout, if any: a run owes nothing to those before it
        with torch.no_grad():
            for name, value in trained.items():
                value.copy_(initial[name])
        made = {"arm": arm, "ratio": ratio}
        if ratio is not None:
            usable = [examples[id] for id in kept if examples[id].predicted]
            made |= {"examples": len(kept), "kept_corrupted": len(spoilt.intersection(kept)) / len(kept)}
            made |= tune(model, usable, tokenizer.pad_token_id, args)
        frames.append(
            measured(model.eval(), heldout, questions, tokenizer.pad_token_id, args.token_budget).with_columns(
                arm=pl.lit(arm), ratio=pl.lit(ratio, pl.Float64)
            )
        )
        runs.append(made | {"seconds": time.monotonic() - started})
    with whole(args.out) as part:
        pl.concat(frames).write_parquet(part)
    # Of the same held-out examples for every arm: those whose answers are all read.
    made = {"runs": runs, "heldout_left_out": heldout.height - frames[0].height, "versions": versions()}
    with whole(args.log) as part:
        part.write_text(json.dumps(made, indent=2) + "\n")
    print(f"{len(runs)} runs, {sum(made['seconds'] for made in runs) / len(runs):.1f} s each")


def tune(model: PeftModel, examples: Sequence[Encoded], pad_id: int, args: argparse.Namespace) -> dict[str, float]:
    """Train the LoRA matrices on `args.tokens` tokens of the examples, going over them as often as that takes.

    Within a step each response token weighs the same. The example that reaches the tokens is the last.
    """
    if not examples:
        raise UserError(f"data.max_length: no kept example has a response within {args.max_length} tokens")
    lengths = [len(example.ids) for example in examples]
    steps: list[list[int]] = []
    tokens = 0
    epochs = (shuffled_batches(len(examples), args.batch_size, args.seed, epoch) for epoch in itertools.count())
    for batch in itertools.chain.from_iterable(epochs):
        steps.append([])
        for index in batch:
            if tokens < args.tokens:
                steps[-1].append(index)
                tokens += lengths[index]
        if tokens >= args.tokens:
            break
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.0)
    model.train()
    found = []
    sizes = [sum(lengths[index] for index in batch) for batch in steps]
    for step, batch in enumerate(progress.steps(steps, sizes, "train", told=lambda: f"{found[-1]:.3f} nats")):
        optimizer.param_groups[0]["lr"] = args.learning_rate * rise_and_cosine(step, len(steps), args.warmup_ratio)
        predicted = sum(examples[index].predicted for index in batch)
        nats = 0.0
        for part in micro_batches(batch, lengths, MICRO_BATCH, process=0, processes=1):
            padded = collate([examples[index] for index in part], pad_id).to(model.device)
            logits = model(padded.ids, use_cache=False, logits_to_keep=padded.predicting).logits  # (B, P, V)
            loss = response_nats(logits, padded).sum() / predicted
            loss.backward()
            nats += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        found.append(nats)
    return {"tokens": tokens, "steps": len(steps), "first_nats": found[0], "last_nats": found[-1]}


def answers(
    heldout: pl.DataFrame, tokenizer: PreTrainedTokenizerFast, max_length: int
) -> list[tuple[int, bool, Encoded]]:
    """Return every answer of every held-out example: the row of the example, whether it is its own response, and it.

    An example without choices has its own alone; one with an answer that is cut before its response has none.
    """
    rows, right, turns = [], [], []
    for row, (messages, choices) in enumerate(heldout.select("messages", "choices").iter_rows()):
        own = messages[-1]["content"]
        for choice in dict.fromkeys([own, *(choices or [])]):
            rows.append(row)
            right.append(choice == own)
            turns.append([*messages[:-1], {**messages[-1], "content": choice}])
    encoded = encode(turns, tokenizer, max_length)
    unusable = {row for row, example in zip(rows, encoded, strict=True) if not example.predicted}
    return [answer for answer in zip(rows, right, encoded, strict=True) if answer[0] not in unusable]


def measured(
    model: PeftModel, heldout: pl.DataFrame, questions: Sequence[tuple[int, bool, Encoded]], pad_id: int, budget: int
) -> pl.DataFrame:
    """Return the loss of each held-out example, and whether of its answers its own has the lowest loss per token.

    Returns:
        Columns id, source, nats (summed over the response), tokens (of it), right (null where there is one answer).
    """
    nats = losses.nats(
        cast(PreTrainedModel, model.get_base_model()), pad_id, [example for *_, example in questions], budget
    )
    asked = pl.DataFrame(
        [(row, own, value, example.predicted) for (row, own, example), value in zip(questions, nats, strict=True)],
        schema={"row": pl.Int64, "own": pl.Boolean, "nats": pl.Float64, "tokens": pl.Int64},
        orient="row",
    ).with_columns(mean=pl.col("nats") / pl.col("tokens"))
    own = asked.filter("own")
    best_wrong = asked.filter(~pl.col("own")).group_by("row").agg(pl.col("mean").min().alias("wrong"))
    judged = own.join(best_wrong, on="row", how="left").select(
        "row", "nats", "tokens", right=pl.col("mean") < pl.col("wrong")
    )
    named = heldout.select("id", "source").with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    return named.join(judged, on="row", how="inner", maintain_order="left").drop("row")


if __name__ == "__main__":
    run(main)
