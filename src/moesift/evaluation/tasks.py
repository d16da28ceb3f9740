"""Measuring a model: lm-eval's own tasks on local data or the hub's, and the loss on held-out examples."""

import difflib
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import yaml
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from moesift.config import Task
from moesift.data.decontamination import Question
from moesift.demo.evaluation_sets import DEFAULT, Splits
from moesift.errors import UserError
from moesift.files import atomic_write
from moesift.models.chat import Encoded
from moesift.passes import likelihood

# Accuracies have a standard error in closed form; a metric without one gets this many resamples.
BOOTSTRAP = 100

# Loaders of files, which a task may name where others name a data set.
LOADERS = {"json", "csv", "parquet", "text", "arrow", "pandas", "xml", "webdataset", "imagefolder", "audiofolder"}

QUESTIONS = {
    "task": pl.String,
    "doc_id": pl.Int64,
    "doc_hash": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "gold": pl.String,
    "predicted": pl.String,
    "loglikelihoods": pl.List(pl.Float64),
}


class Measured(NamedTuple):
    """What lm-eval found.

    `tasks` has by task, group and tag its metrics and what they were measured with. `questions` has a row for each
    question and metric, in the columns QUESTIONS: the task; the place of the question in the task's data, and its hash;
    the metric and its value; the right answer and the one given (of given answers their places; null where the metric
    does not say which answer it took); and the log-likelihoods of given answers, in nats.
    """

    tasks: dict[str, Any]
    questions: pl.DataFrame


class LookedUp(NamedTuple):
    """What lm-eval's own files and local data say of tasks.

    `entries` are those of lm-eval's index, by task and group; `settings` those of its files, by task; `data` has the
    splits by data set and configuration; `questions` their numbers, by task.
    """

    entries: dict[str, Any]
    settings: dict[str, Mapping[str, Any]]
    data: dict[str, dict[str, Splits]]
    questions: dict[str, int]


def look_up(tasks: Sequence[str], read: Callable[[str, str], Splits]) -> LookedUp:
    """Find tasks in lm-eval, with the parts of groups and tags, and read the data of each.

    Args:
        tasks: lm-eval's names of tasks, groups and tags.
        read: gives the splits of a data set by its name on the hub and the name of its configuration.

    Raises:
        UserError: lm-eval does not know a task, a task reads no data set of the hub, or there are no questions for it.
    """
    index = _index()
    _refuse_unknown(tasks, index)
    entries = {name: index[name] for name in _with_parts(tasks, index)}
    settings = {name: entry.cfg or {} for name, entry in entries.items() if entry.kind.name != "GROUP"}

    data: dict[str, dict[str, Splits]] = {}
    questions = {}
    for name, setting in settings.items():
        data_set, configuration = _data_set(name, setting)
        configurations = data.setdefault(data_set, {})
        if configuration not in configurations:
            configurations[configuration] = read(data_set, configuration)
        questions[name] = _questions_of(configurations[configuration], name, setting)
    return LookedUp(entries, settings, data, questions)


def refuse_unknown(tasks: Sequence[str]) -> None:
    """Refuse names that lm-eval has neither as a task nor as a group or tag, without a look at any data.

    Raises:
        UserError: it has not; the message says which names are like it.
    """
    _refuse_unknown(tasks, _index())


def localise_tasks(tasks: Sequence[str], read: Callable[[str, str], Splits], out: Path) -> dict[str, int]:
    """Write a folder of task files that read local data: prompts, metrics and few-shot settings stay exactly lm-eval's.

    Each file includes lm-eval's own and says nothing more than where the data are, and which splits are not there.

    Args:
        tasks, read: as for `look_up`, which raises what is wrong with them.
        out: where to write; the files go to `out/tasks`, the data to `out/data`.

    Returns:
        The number of questions of each task.
    """
    entries, settings, data, questions = look_up(tasks, read)
    with atomic_write(out) as part:
        places = {
            data_set: out.resolve() / _written(data_set, configurations, part / "data").relative_to(part)
            for data_set, configurations in data.items()
        }
        (part / "tasks").mkdir(parents=True)
        for name, entry in entries.items():
            lines: dict[str, Any] = {"include": str(entry.yaml_path)}
            if name in settings:
                data_set, configuration = _data_set(name, settings[name])
                without = _without(data[data_set][configuration], settings[name])
                lines |= {"dataset_path": str(places[data_set]), **without}
            (part / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(lines))
    return questions


@functools.cache  # lm-eval reads the files of all its tasks, thousands
def _index() -> Mapping[str, Any]:
    from lm_eval.tasks import TaskManager

    return TaskManager().task_index


def _with_parts(names: Iterable[Any], index: Mapping[str, Any]) -> list[str]:
    """Return tasks and groups, and what the groups and tags among them consist of, each once."""
    found: dict[str, None] = {}
    for name in names:
        if isinstance(name, dict):  # of a group: a part with settings of its own, or a group that has no file
            part = name.get("task") if "task" in name and name.get("group") not in index else name["group"]
            found |= dict.fromkeys(_with_parts(part if isinstance(part, list) else [part], index))
        elif name not in index:
            raise UserError(f"evaluate.tasks: {name} has no file of its own in lm-eval; it can be had with data: hub")
        elif index[name].kind.name == "TAG":
            found |= dict.fromkeys(_with_parts(sorted(index[name].tags), index))
        else:
            found[name] = None
            if index[name].kind.name == "GROUP":
                found |= dict.fromkeys(_with_parts(index[name].cfg["task"], index))
    return list(found)


def _data_set(name: str, setting: Mapping[str, Any]) -> tuple[str, str]:
    """Return which data set of the hub a task reads, and which configuration of it."""
    data_set = setting.get("dataset_path")
    if not data_set or data_set in LOADERS or setting.get("custom_dataset"):
        raise UserError(f"evaluate.tasks: {name} reads no data set by name, so it cannot be had but with data: hub")
    return data_set, str(setting.get("dataset_name") or DEFAULT)


def _questions_of(splits: Splits, task: str, setting: Mapping[str, Any]) -> int:
    """Return the number of questions of a task."""
    asked = setting.get("test_split") or setting.get("validation_split")
    if asked not in splits or not splits[asked].height:
        data_set = " ".join(_data_set(task, setting))
        raise UserError(
            f"evaluate.data: {task} asks the questions of the split {asked} of {data_set}, which has only "
            f"{', '.join(split for split, table in splits.items() if table.height)}"
        )
    return splits[asked].height


def _without(splits: Splits, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a task file must say where splits are not there that only examples before a question come from.

    lm-eval opens them even where no examples are asked for; told that there are none, it would take them from the
    questions themselves, so it is given none, and `run_tasks` refuses what asks for some.
    """
    parts = ("fewshot_split", "training_split", "validation_split")
    missing = {part: None for part in parts if setting.get(part) not in (None, *splits)}
    examples = setting.get("fewshot_config") or {}
    source = setting.get("fewshot_split") or examples.get("split")
    if source is None and examples.get("samples") is None:
        source = setting.get("training_split") or setting.get("validation_split")
    return missing | ({"fewshot_config": {"samples": []}} if source not in (None, *splits) else {})


def _written(data_set: str, configurations: Mapping[str, Splits], out: Path) -> Path:
    """Write a data set so that `datasets` loads it by its folder, which is returned."""
    # The cache of `datasets` knows a local folder by its last name alone, and would give what another folder of the
    # same name once held; so the name says what is in it.
    place = out / f"{data_set.replace('/', '-')}-{_content(configurations)}"
    card = []
    for configuration, splits in configurations.items():
        (place / configuration).mkdir(parents=True, exist_ok=True)
        for split, table in splits.items():
            table.write_parquet(place / configuration / f"{split}.parquet")
        parts = [{"split": split, "path": f"{configuration}/{split}.parquet"} for split in splits]
        card.append({"config_name": configuration, "data_files": parts})
    (place / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': card})}---\n")
    return place


def _content(configurations: Mapping[str, Splits]) -> str:
    """Return a digest of tables and their names."""
    digest = hashlib.sha256()
    for configuration, splits in sorted(configurations.items()):
        for split, table in sorted(splits.items()):
            digest.update(f"{configuration}/{split}\n{table.schema}\n{table.write_json()}\n".encode())
    return digest.hexdigest()[:12]


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Task],
    tasks_folder: Path | None,
    batch_size: int | str,
) -> Measured:
    """Run lm-eval.

    A tag is a list of tasks that lm-eval does not average; here it gets the plain mean over them, and so does a group
    that lm-eval does not average. Of each task asked for, `shares` says what part of its metric each task has in it.

    Args:
        tasks_folder: task files that take the place of those that lm-eval ships; None uses lm-eval's, from the hub.
        batch_size: requests that are answered at once; `auto` lets lm-eval halve 64 until the memory of a GPU holds it.

    Raises:
        UserError: a task is unknown, or cannot have as many examples before a question as are asked for.
    """
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    manager = _task_manager([task.name for task in tasks], tasks_folder)
    loaded = [manager.load([task.name]) for task in tasks]
    for task, found in zip(tasks, loaded, strict=True):
        for name, part in found["tasks"].items():
            _refuse_fewshot(task, name, part)

    evaluated = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    measured, questions = {}, {}
    for task, parts in zip(tasks, loaded, strict=True):
        group = parts["groups"].get(task.name)
        found = lm_eval.simple_evaluate(
            model=evaluated,
            tasks=list(parts["tasks"].values()) if group is None else [group],
            num_fewshot=task.fewshot,
            limit=task.limit,
            bootstrap_iters=BOOTSTRAP,
            task_manager=manager,
        )
        by_task = _by_task(found)
        weighted = group is not None and group.has_aggregation and group.aggregate_metric_list[0].weight_by_size
        leaves = {name: by_task[name] for name in parts["tasks"]}
        if not by_task.get(task.name, {}).get("metrics"):
            by_task[task.name] = _mean(list(leaves.values()))
        sizes = {name: leaf["questions"] if weighted else 1 for name, leaf in leaves.items()}
        by_task[task.name]["shares"] = {name: size / sum(sizes.values()) for name, size in sizes.items()}
        measured |= by_task
        for name, samples in found["samples"].items():
            questions[name] = _question_rows(name, parts["tasks"][name], samples)
    rows = [row for of_task in questions.values() for row in of_task]
    return Measured(measured, pl.DataFrame(rows, schema=QUESTIONS, orient="row"))


def _refuse_fewshot(task: Task, name: str, part: Any) -> None:
    """Refuse what lm-eval would leave out in silence, or stop at in the middle."""
    own = part.get_config("num_fewshot")
    wanted = (own or 0) if task.fewshot is None else task.fewshot
    if own == 0 and wanted:
        raise UserError(f"evaluate.tasks: {name} has no examples before a question, so fewshot cannot be {wanted}")
    if wanted and wanted > (there := len(list(part.fewshot_docs()))):
        raise UserError(
            f"evaluate.tasks: {name} should have {wanted} examples before each question, and its data have {there}"
        )


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
    _refuse_unknown(tasks, manager.task_index)
    return manager


def _refuse_unknown(tasks: Sequence[str], known: Mapping[str, Any]) -> None:
    for name in tasks:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"evaluate.tasks: {name} is no task of lm-eval{hint}")


def _mean(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean over tasks that share their metrics; the standard errors are those of independent questions."""
    metrics = {}
    for key in tasks[0]["metrics"]:
        if all(key in task["metrics"] for task in tasks):  # one question has no standard error
            values = [task["metrics"][key] for task in tasks]
            total = math.hypot(*values) if key.endswith("_stderr") else math.fsum(values)
            metrics[key] = total / len(tasks)
    return {
        "metrics": metrics,
        "questions": sum(task["questions"] for task in tasks),
        "of": sum(task["of"] for task in tasks),
        "fewshot": _common(task["fewshot"] for task in tasks),
        "version": tasks[0]["version"],
        "hash": None,
    }


def _by_task(found: dict[str, Any]) -> dict[str, Any]:
    """Return the part of lm-eval's results that is kept, by task and group."""
    sizes = found["n-samples"]

    def leaves(name: str) -> list[str]:
        return [name] if name in sizes else [leaf for part in found["group_subtasks"][name] for leaf in leaves(part)]

    return {
        name: {
            "metrics": {_metric(key): value for key, value in metrics.items() if isinstance(value, float)},
            "questions": sum(sizes[leaf]["effective"] for leaf in leaves(name)),
            "of": sum(sizes[leaf]["original"] for leaf in leaves(name)),  # how many there are, without a limit
            "fewshot": _common(found["n-shot"][leaf] for leaf in leaves(name)),
            "version": found["versions"][name],
            "hash": _hash(found["samples"][name]) if name in sizes else None,
        }
        for name, metrics in found["results"].items()
    }


def _common(values: Iterable[int]) -> int | None:
    """Return what all tasks of a group have in common; None where they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _metric(key: str) -> str:
    """Return the name of a metric: lm-eval writes "acc,none" and "acc_stderr,none", with the filter of the answers."""
    metric, _, answers = key.partition(",")
    if answers in ("", "none"):
        return metric
    name, error, _ = metric.partition("_stderr")
    return f"{name},{answers}{error}"


def _hash(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return what lm-eval calls the hash of a task: of its questions, prompts and right answers, in their order."""
    hashes = (sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"] for sample in samples)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _question_rows(name: str, task: Any, samples: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the rows of `Measured.questions`; a metric that is no number of one question has none."""
    rows = []
    for sample in samples:
        answers = sample["filtered_resps"]
        ranked = isinstance(answers[0], (tuple, list)) and len(answers[0]) == 2
        likelihoods = [answer[0] for answer in answers] if ranked else None
        for metric in sample["metrics"]:
            if not isinstance(sample[metric], (int, float)):
                continue
            if likelihoods is None:
                predicted = str(answers[0])
            else:
                predicted = str(likelihoods.index(max(likelihoods))) if metric == "acc" else None
            label = _metric(f"{metric},{sample['filter']}")
            about = (name, sample["doc_id"], sample["doc_hash"], label, float(sample[metric]))
            rows.append((*about, str(_gold(task, sample)), predicted, likelihoods))
    return rows


def _gold(task: Any, sample: Mapping[str, Any]) -> Any:
    """Return the right answer of a question; where answers are given, its place among them."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return sample["target"]
    if task.multiple_input:  # Winogrande's kind: see `read_questions`
        return task.doc_to_text(sample["doc"])
    choices = task.doc_to_choice(sample["doc"])
    return choices.index(sample["target"]) if sample["target"] in choices else sample["target"]


def heldout_losses(model: PreTrainedModel, examples: Sequence[Encoded], pad_id: int, token_budget: int) -> pl.DataFrame:
    """Return the loss of each held-out example: columns nats, over all response tokens, and tokens, their number."""
    nats = losses.nats(model, pad_id, examples, token_budget)
    return pl.DataFrame(
        {"nats": nats, "tokens": [example.predicted for example in examples]},
        schema={"nats": pl.Float64, "tokens": pl.Int64},
    )


def heldout_loss(measured: pl.DataFrame) -> dict[str, float]:
    """Return the mean loss over all response tokens of held-out examples, in nats per token, with its standard error.

    The error is that of a ratio of sums over examples, which are the independent units, not tokens.

    Args:
        measured: the frame of `heldout_losses`.
    """
    nats, tokens = measured["nats"].to_torch(), measured["tokens"].cast(pl.Float64).to_torch()  # (examples,)
    mean = nats.sum() / tokens.sum()
    error = (nats - mean * tokens).square().sum().sqrt() / tokens.sum()
    return {
        "nll_per_token": mean.item(),
        "stderr": error.item(),
        "tokens": int(tokens.sum()),
        "examples": measured.height,
    }
