"""Measuring a model: lm-eval's own tasks on local data, and the loss on held-out examples."""

import hashlib
import math
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from moesift.config import Task
from moesift.data.decontamination import Question
from moesift.errors import UserError
from moesift.models.chat import Encoded
from moesift.scoring import losses

# Accuracies have a standard error in closed form; a metric without one gets this many resamples.
BOOTSTRAP = 100

# Which data set of lm-eval's task files each folder of tasks reads, by the name it has on the hub.
HUB_NAMES = {"mmlu/default": "cais/mmlu", "arc": "allenai/ai2_arc"}


def localise_tasks(tables: dict[str, dict[tuple[str, str], pl.DataFrame]], out: Path) -> None:
    """Write a folder of lm-eval's own task files that read local data: prompts and metrics stay exactly lm-eval's.

    The files are copied from the installed lm-eval; only the line that names the data set changes.

    Args:
        tables: for each folder of lm-eval's tasks (a key of HUB_NAMES) its data by (configuration, split).
        out: where to write; data below `out/data`.
    """
    for folder, data in tables.items():
        # The cache of `datasets` knows a local folder by its last name alone, and would give what another folder of the
        # same name once held; so the name says what is in it.
        place = (out / "data" / f"{folder.replace('/', '-')}-{_content(data)}").resolve()
        configurations: dict[str, list[dict[str, str]]] = {}
        for (configuration, split), frame in data.items():
            path = place / configuration / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(path)
            configurations.setdefault(configuration, []).append(
                {"split": split, "path": f"{configuration}/{split}.parquet"}
            )
        card = {"configs": [{"config_name": name, "data_files": parts} for name, parts in configurations.items()]}
        (place / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")

        with_data = out / "tasks" / folder
        shutil.copytree(str(files("lm_eval") / "tasks" / folder), with_data, dirs_exist_ok=True)
        for file in with_data.rglob("*"):
            if file.is_file():
                text = file.read_text()
                line = re.compile(rf"^dataset_path: {re.escape(HUB_NAMES[folder])}$", re.MULTILINE)
                file.write_text(line.sub(f"dataset_path: {place}", text))


def _content(data: dict[tuple[str, str], pl.DataFrame]) -> str:
    """Return a digest of tables and their names."""
    digest = hashlib.sha256()
    for name in sorted(data):
        digest.update(f"{name}\n{data[name].write_json()}\n".encode())
    return digest.hexdigest()[:12]


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Task],
    tasks_folder: Path | None,
    batch_size: int,
) -> dict[str, Any]:
    """Run lm-eval and return, by task, group and tag, its metrics with standard errors, its version and question count.

    A tag is a list of tasks that lm-eval does not average; here it gets the plain mean over them.

    Args:
        tasks_folder: task files that take the place of those that lm-eval ships; None uses lm-eval's, from the hub.

    Raises:
        UserError: a task is unknown.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    manager = _task_manager([task.name for task in tasks], tasks_folder)
    evaluated = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    measured = {}
    for task in tasks:
        found = lm_eval.simple_evaluate(
            model=evaluated,
            tasks=[task.name],
            num_fewshot=task.fewshot,
            limit=task.limit,
            bootstrap_iters=BOOTSTRAP,
            task_manager=manager,
        )
        by_task = _by_task(found)
        measured |= by_task
        if task.name not in by_task:
            measured[task.name] = _mean(list(by_task.values()))
    return measured


def read_questions(tasks: Sequence[str], tasks_folder: Path | None) -> list[Question]:
    """Return every test question of tasks and groups, as lm-eval asks it, with its answers.

    Args:
        tasks: lm-eval's names.
        tasks_folder: as for `run_tasks`.

    Raises:
        UserError: a task is unknown.
    """
    manager = _task_manager(tasks, tasks_folder)
    # One by one: lm-eval refuses to load a group and one of its tasks at once, but `run_tasks` measures both.
    loaded = {name: task for asked in tasks for name, task in manager.load([asked])["tasks"].items()}
    found = []
    for name, task in loaded.items():
        for number, doc in enumerate(task.eval_docs):
            prompt, target = task.doc_to_text(doc), task.doc_to_target(doc)
            choices = [] if task.config.doc_to_choice is None else task.doc_to_choice(doc)
            if isinstance(prompt, int):
                # Winogrande's kind: the choices are how a sentence may begin, the target is how each goes on.
                prompt, answers = "", [f"{choice} {target}" for choice in choices]
            else:
                answers = choices or (target if isinstance(target, list) else [target])
            found.append(Question(name, number, prompt, [str(answer) for answer in answers]))
    return found


def _task_manager(tasks: Sequence[str], tasks_folder: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=tasks_folder, include_defaults=tasks_folder is None)
    if unknown := [name for name in tasks if name not in manager.all_tasks]:
        raise UserError(f"evaluate.tasks: {', '.join(unknown)} unknown; there are {', '.join(manager.all_tasks)}")
    return manager


def _mean(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean over tasks that share their metrics; the standard errors are those of independent questions."""
    metrics = {}
    for key in tasks[0]["metrics"]:
        values = [task["metrics"][key] for task in tasks]
        total = math.hypot(*values) if key.endswith("_stderr") else math.fsum(values)
        metrics[key] = total / len(tasks)
    questions = sum(task["questions"] for task in tasks)
    return {"metrics": metrics, "questions": questions, "version": tasks[0]["version"]}


def _by_task(found: dict[str, Any]) -> dict[str, Any]:
    """Return the part of lm-eval's results that is kept, by task and group."""
    counts = {name: sizes["effective"] for name, sizes in found["n-samples"].items()}

    def questions(name: str) -> int:
        return counts[name] if name in counts else sum(questions(part) for part in found["group_subtasks"][name])

    return {
        name: {
            # lm-eval writes "acc,none" and "acc_stderr,none", where "none" is the filter of the answers.
            "metrics": {key.split(",")[0]: value for key, value in metrics.items() if isinstance(value, float)},
            "questions": questions(name),
            "version": found["versions"][name],
        }
        for name, metrics in found["results"].items()
    }


def heldout_loss(
    model: PreTrainedModel, examples: Sequence[Encoded], pad_id: int, token_budget: int
) -> dict[str, float]:
    """Return the mean loss over all response tokens of held-out examples, in nats per token, with its standard error.

    The error is that of a ratio of sums over examples, which are the independent units, not tokens.
    """
    nats = torch.tensor(losses.nats(model, pad_id, examples, token_budget), dtype=torch.float64)  # (examples,)
    tokens = torch.tensor([example.predicted for example in examples], dtype=torch.float64)  # (examples,)
    mean = nats.sum() / tokens.sum()
    error = (nats - mean * tokens).square().sum().sqrt() / tokens.sum()
    return {
        "nats_per_token": mean.item(),
        "stderr": error.item(),
        "tokens": int(tokens.sum()),
        "examples": len(examples),
    }
