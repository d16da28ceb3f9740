"""Measure the target, as it is or with an adapter merged into it: lm-eval's tasks and the loss on held-out examples."""

import argparse
import json
from pathlib import Path

import polars as pl
import torch
from peft import PeftModel

from moesift import config, flags, progress
from moesift.errors import UserError, run
from moesift.evaluation import QUESTIONS, heldout_loss, heldout_losses, run_tasks
from moesift.files import atomic_write, parquet
from moesift.models.chat import encode_responses
from moesift.models.loading import load_model, require_complete
from moesift.provenance import commit, machine, versions


def main() -> None:
    """Read the target, its adapter and the data, write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the target: a directory or a name on the hub")
    parser.add_argument(
        "--adapter", type=Path, help="directory of an adapter; without it the target is measured untuned"
    )
    parser.add_argument("--heldout", type=parquet, required=True, help="parquet of the held-out examples")
    parser.add_argument("--tasks-folder", type=Path, help="task files of `evaluation_data`; without it lm-eval's own")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write: what was measured")
    parser.add_argument("--questions", type=Path, required=True, help="parquet to write: each question by itself")
    parser.add_argument("--label", type=json.loads, required=True, help="JSON with method, ratio and seed")
    parser.add_argument("--threads", type=int, required=True)
    flags.add(parser, config.Throughput, "eval_batch_size")
    parser.add_argument("--token-budget", type=int, required=True, help="tokens in a batch of held-out examples")
    flags.add(parser, config.Data, "max_length")
    flags.add(parser, config.Evaluate, "tasks")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    model, tokenizer = load_model(args.model)
    training = None
    if args.adapter is not None:
        require_complete(args.adapter)
        try:
            training = json.loads((args.adapter / "training.json").read_text())
            model = PeftModel.from_pretrained(model, args.adapter).merge_and_unload()
        except (OSError, ValueError) as error:
            raise UserError(f"{args.adapter}: not a complete adapter of `train_adapter`: {error}") from error
    heldout = pl.read_parquet(args.heldout, columns=["id", "messages"])
    encoded = encode_responses(heldout["messages"].to_list(), tokenizer, args.max_length)
    examples = {place: example for place, example in enumerate(encoded) if example is not None}
    nats = heldout_losses(model, list(examples.values()), tokenizer.pad_token_id, args.token_budget)
    with progress.plain():  # lm-eval shows bars of its own
        found = run_tasks(model, tokenizer, args.tasks, args.tasks_folder, args.eval_batch_size)
    measured = {
        **args.label,
        "heldout": heldout_loss(nats),
        "tasks": found.tasks,
        "made_from": {
            "model": args.model,
            "training": training,
            "evaluation": {"tasks": [task.model_dump() for task in args.tasks], "max_length": args.max_length},
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
        },
    }
    held_out = nats.with_columns(doc_id=pl.Series(list(examples)), doc_hash=heldout["id"].gather(list(examples)))
    by_example = held_out.unpivot(["nats", "tokens"], index=["doc_id", "doc_hash"], variable_name="metric")
    both = pl.concat([by_example.with_columns(task=pl.lit("heldout")), found.questions], how="diagonal_relaxed")
    with atomic_write(args.questions) as part:
        both.select(*QUESTIONS).write_parquet(part)
    with atomic_write(args.out) as part:
        part.write_text(json.dumps(measured, indent=2) + "\n")
    print(json.dumps(measured["heldout"]))


if __name__ == "__main__":
    run(main)
