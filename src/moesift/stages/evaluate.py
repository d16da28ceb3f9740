"""Measure the target, as it is or as it was tuned: lm-eval's tasks and the loss on held-out examples."""

import json
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from moesift import config, flags, progress
from moesift.errors import UserError
from moesift.evaluation.heldout import heldout_loss, heldout_losses
from moesift.evaluation.tasks import QUESTIONS, run_tasks
from moesift.files import atomic_write
from moesift.models.batches import require_positions
from moesift.models.chat import encode_responses
from moesift.models.loading import load_model
from moesift.models.tuning import load_tuned
from moesift.provenance import commit, machine, versions


def main(
    model: str,
    heldout: flags.Parquet,
    out: Path,
    questions: Path,
    label: dict[str, Any],
    threads: int,
    batch_size: int | Literal["auto"],
    token_budget: int,
    max_length: int,
    evaluate: config.Evaluate,
    targets: dict[str, flags.Parquet] | None = None,
    tuned: Path | None = None,
    tasks_folder: Path | None = None,
    dtype: config.Dtype | None = None,
) -> None:
    """Read the target and the data, write the measurements.

    Args:
        model: the target, a directory or a name on the hub.
        heldout: parquet of the held-out examples.
        out: JSON file to write.
        questions: parquet to write, of single questions and held-out examples.
        label: JSON with method, budget and seed.
        threads: CPU threads.
        batch_size: requests that lm-eval answers at once, or auto.
        token_budget: tokens in a batch of held-out examples, padding included; 0 takes what suits the device.
        max_length: tokens a held-out example may have.
        evaluate: key tasks.
        targets: JSON: parquet of the held-out examples of each target, by its name.
        tuned: folder that `train_adapter` wrote; without it the target is measured as it is.
        tasks_folder: task files of `evaluation_data`; without it lm-eval's own.
        dtype: precision of the target; unless given, that of its files.
    """
    torch.set_num_threads(threads)
    training = None
    if tuned is None:
        target, tokenizer = load_model(model, dtype)
    else:
        try:
            training = json.loads((tuned / "training.json").read_text())
            method = training["settings"]["method"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{tuned}: not a complete result of `train_adapter`: {error}") from error
        target, tokenizer = load_tuned(model, tuned, method, dtype)

    files = {"heldout": heldout, **{f"heldout:{name}": path for name, path in (targets or {}).items()}}
    by_example = {
        name: losses_by_example(target, tokenizer, path, max_length, token_budget) for name, path in files.items()
    }
    for frame in by_example.values():
        if unmeasured := frame.filter(~pl.col("nll").is_finite())["doc_hash"].to_list():
            advice = "lower train.learning_rate" if tuned else "are its weights complete, and its dtype wide enough?"
            raise UserError(
                f"{tuned or model}: the loss is not finite on {len(unmeasured)} held-out examples, such as "
                f"{', '.join(unmeasured[:3])}; {advice}"
            )
    with progress.plain():  # lm-eval shows bars of its own
        measured = run_tasks(target, tokenizer, evaluate.tasks, tasks_folder, batch_size)

    losses = {
        name: heldout_loss(frame) | {"left_out": pl.read_parquet(files[name], columns=["id"]).height - frame.height}
        for name, frame in by_example.items()
    }
    result = {
        **label,
        "heldout": losses["heldout"],
        "targets": {name: losses[f"heldout:{name}"] for name in targets or {}},
        "tasks": measured.tasks,
        "made_from": {
            "model": model,
            "training": training,
            "evaluation": {"tasks": [task.model_dump() for task in evaluate.tasks], "max_length": max_length},
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
        },
    }
    rows = pl.concat(frame.with_columns(task=pl.lit(name)) for name, frame in by_example.items())
    rows = rows.unpivot(["nll", "tokens"], index=["task", "doc_id", "doc_hash"], variable_name="metric")
    rows = pl.concat([rows, measured.questions], how="diagonal_relaxed")
    with atomic_write(questions) as part:
        rows.select(*QUESTIONS).write_parquet(part)
    with atomic_write(out) as part:
        part.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["heldout"]))


def losses_by_example(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, heldout: Path, max_length: int, token_budget: int
) -> pl.DataFrame:
    """Return doc_id, doc_hash, nll and tokens of the held-out examples that have a response token within `max_length`.

    Raises:
        UserError: none has.
    """
    examples = pl.read_parquet(heldout, columns=["id", "messages"]).with_row_index("doc_id")
    try:
        encoded = encode_responses(examples["messages"].to_list(), tokenizer, max_length)
    except UserError as error:
        raise UserError(f"{heldout}: {error}") from error
    usable = [example for example in encoded if example is not None]
    require_positions(model, usable)
    losses = heldout_losses(model, usable, tokenizer.pad_token_id, token_budget)
    has_response = pl.Series([example is not None for example in encoded])
    return examples.filter(has_response).select("doc_id", doc_hash="id").hstack(losses)


if __name__ == "__main__":
    flags.run(main)
