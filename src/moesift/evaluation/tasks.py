"""Running lm-eval's tasks, and reading their questions."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from moesift.config import Task
from moesift.data.decontamination import Question
from moesift.data.rows import Row
from moesift.errors import UserError
from moesift.evaluation.index import members, refuse_unknown, task_manager, unusable
from moesift.evaluation.prompts import Looked, is_cut, look, require_room

# Accuracies have a standard error in closed form; a metric without one gets this many resamples.
BOOTSTRAP = 100

# A row per question and metric. `doc_id` is the place of the question in the task's data. Of a multiple-choice task,
# `gold` and `predicted` are places among the answers; `predicted` is null where the metric does not say which it took.
QUESTIONS = {
    "task": pl.String,
    "doc_id": pl.Int64,
    "doc_hash": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "gold": pl.String,
    "predicted": pl.String,
    "loglikelihoods": pl.List(pl.Float64),  # of the answers of a multiple-choice task, in nats
    "cut": pl.Boolean,  # whether the prompt was longer than the model's context, and lost its beginning
}


class Measured(NamedTuple):
    """What lm-eval measured: a summary of each task, group and tag, and a frame of questions (columns of QUESTIONS)."""

    tasks: dict[str, dict[str, Any]]
    questions: pl.DataFrame


def run_tasks(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Sequence[Task],
    tasks_folder: Path | None,
    batch_size: int | str,
) -> Measured:
    """Run lm-eval.

    A tag is a list of tasks that lm-eval does not average. Here it gets the plain mean over them, and so does a group
    that lm-eval does not average. The summary of each task that is asked for says in `shares` how much each of its
    members weighs in it, and in `cut` how many questions had a prompt longer than the model's context.

    Args:
        model: to be measured.
        tokenizer: of the model.
        tasks: lm-eval's tasks, groups and tags.
        tasks_folder: task files that replace those of lm-eval; None uses lm-eval's, which read the hub.
        batch_size: requests that are answered at once; `auto` lets lm-eval halve 64 until a GPU's memory holds it.

    Raises:
        UserError: a task cannot be used, as `unusable` says, cannot have as many few-shot examples as are asked for, or
            generates more tokens than the model's context has.
    """
    if not tasks:
        return Measured({}, pl.DataFrame(schema=QUESTIONS))
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    if wrong := unusable([task.name for task in tasks], tasks_folder is None, tasks_folder):
        raise UserError("\n".join(wrong.values()))
    manager = task_manager(tasks_folder)
    loaded = [manager.load([task.name]) for task in tasks]
    evaluated = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    for task, parts in zip(tasks, loaded, strict=True):
        for name, part in parts["tasks"].items():
            refuse_fewshot(task, name, part)
            require_room(name, part.OUTPUT_TYPE, part.config.generation_kwargs, evaluated.max_length)

    summaries, questions = {}, {}
    for task, parts in zip(tasks, loaded, strict=True):
        group = parts["groups"].get(task.name)
        results = lm_eval.simple_evaluate(
            model=evaluated,
            tasks=list(parts["tasks"].values()) if group is None else [group],
            num_fewshot=task.fewshot,
            limit=task.limit,
            bootstrap_iters=BOOTSTRAP,
            task_manager=manager,
        )
        for samples in results["samples"].values():
            for sample in samples:
                sample["cut"] = is_cut(sample["arguments"], evaluated.tok_encode, evaluated.max_length)
        leaves = {name: _task_summary(results, name) for name in parts["tasks"]}
        members = {name: [leaf.task_name for leaf in part.get_all_tasks()] for name, part in parts["groups"].items()}
        if task.name not in leaves | members:
            members[task.name] = list(leaves)  # a tag
        groups = {name: _group_summary(results, name, [leaves[leaf] for leaf in members[name]]) for name in members}
        summaries |= leaves | groups

        by_size = group is not None and group.has_aggregation and group.aggregate_metric_list[0].weight_by_size
        weights = {name: leaf["questions"] if by_size else 1 for name, leaf in leaves.items()}
        total = sum(weights.values())
        summaries[task.name]["shares"] = {name: weight / total for name, weight in weights.items()}
        for name, samples in results["samples"].items():
            questions[name] = _question_rows(name, parts["tasks"][name], samples)
    rows = [row for of_task in questions.values() for row in of_task]
    return Measured(summaries, pl.DataFrame(rows, schema=QUESTIONS, orient="row"))


def look_at_prompts(
    task: Task, tasks_folder: Path, tokenizer: PreTrainedTokenizerFast, context: int, limit: int
) -> Looked:
    """Make the prompts of the first `limit` questions, of each member of a group, and count those that would be cut.

    Raises:
        UserError: as `run_tasks`, or the data do not have what the task asks for.
    """
    questions = cut = 0
    try:
        for name, part in task_manager(tasks_folder).load([task.name])["tasks"].items():
            refuse_fewshot(task, name, part)
            require_room(name, part.OUTPUT_TYPE, part.config.generation_kwargs, context)
            found = look(part, task.fewshot, min(task.limit or limit, limit), tokenizer, context)
            questions, cut = questions + found.questions, cut + found.cut
    except UserError:
        raise
    except Exception as error:  # the code of a task fails in any way on data with other columns
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise UserError(f"evaluate.data: {task.name} cannot ask its questions of these data: {reason}") from error
    return Looked(questions, cut)


def read_questions(tasks: Sequence[str], tasks_folder: Path | None) -> list[Question]:
    """Return every test question of tasks and groups, as lm-eval asks it, with its answers.

    Args:
        tasks: lm-eval's names.
        tasks_folder: as for `run_tasks`.

    Raises:
        UserError: a task is unknown.
    """
    if not tasks:
        return []
    refuse_unknown(tasks, tasks_folder)
    manager = task_manager(tasks_folder)
    # One by one: lm-eval refuses to load a group together with one of its tasks.
    loaded = {name: task for asked in tasks for name, task in manager.load([asked])["tasks"].items()}
    questions = []
    for name, task in loaded.items():
        for number, doc in enumerate(task.eval_docs):
            prompt, target = task.doc_to_text(doc), task.doc_to_target(doc)
            choices = [] if task.config.doc_to_choice is None else task.doc_to_choice(doc)
            if isinstance(prompt, int):
                # As in WinoGrande, the choices are beginnings of a sentence, and the target is the rest of it.
                prompt, answers = "", [f"{choice} {target}" for choice in choices]
            else:
                answers = choices or (target if isinstance(target, list) else [target])
            questions.append(Question(name, number, prompt, [str(answer) for answer in answers]))
    return questions


def examples_of(task: str, split: str, tasks_folder: Path | None) -> list[Row]:
    """Return the questions of one split of a task or group as rows: as lm-eval asks them, with the right answer.

    Args:
        task: lm-eval's name.
        split: of its data, such as `dev`.
        tasks_folder: as for `run_tasks`.

    Raises:
        UserError: the task is unknown, or its data have no such split.
    """
    refuse_unknown([task], tasks_folder)
    rows = []
    for name, part in task_manager(tasks_folder).load([task])["tasks"].items():
        if split not in part.dataset:
            raise UserError(f"targets: the data of {name} have no split {split}, but {', '.join(part.dataset)}")
        docs = (
            part.dataset[split] if part.config.process_docs is None else part.config.process_docs(part.dataset[split])
        )
        for doc in docs:
            prompt, answer = part.doc_to_text(doc), part.doc_to_target(doc)
            choices = [] if part.config.doc_to_choice is None else part.doc_to_choice(doc)
            if isinstance(prompt, int):  # as in `read_questions`
                prompt = choices[prompt]
            elif isinstance(answer, int):
                answer = choices[answer]
            answer = answer[0] if isinstance(answer, list) else answer
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": str(answer).strip()}]
            rows.append(Row(len(rows), {"messages": turns}))
    return rows


def refuse_without_data(task: Task, context: int) -> None:
    """Refuse what lm-eval's files alone say that cannot be asked: more examples than none, or too long answers.

    Raises:
        UserError: as `run_tasks`.
    """
    for name, entry in members(task.name, task_manager().task_index).items():
        _refuse_zero(name, entry.cfg.get("num_fewshot"), task.fewshot)
        require_room(name, entry.cfg.get("output_type"), entry.cfg.get("generation_kwargs"), context)


def refuse_fewshot(task: Task, name: str, part: Any) -> None:
    """Refuse numbers of few-shot examples that lm-eval would ignore, or fail at in the middle of a run.

    Raises:
        UserError: names the task and what it has.
    """
    default = part.get_config("num_fewshot")
    wanted = (default or 0) if task.fewshot is None else task.fewshot
    _refuse_zero(name, default, task.fewshot)
    if wanted and wanted > (available := len(list(part.fewshot_docs()))):
        raise UserError(
            f"evaluate.tasks: {name} needs {wanted} few-shot examples before each question, and its data have "
            f"{available}"
        )


def _refuse_zero(name: str, default: int | None, fewshot: int | None) -> None:
    if default == 0 and fewshot:  # lm-eval would ignore it
        raise UserError(f"evaluate.tasks: {name} has no few-shot examples, so fewshot cannot be {fewshot}")


def _task_summary(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the part of lm-eval's results of a task that is kept.

    `higher_is_better` lacks the metrics of which lm-eval does not know it, such as some that a task computes itself.
    """
    known = {metric: higher for metric, higher in results["higher_is_better"][name].items() if isinstance(higher, bool)}
    metrics = {key: key.partition(",")[0] for key in results["results"][name]}
    return {
        "metrics": _numbers(results["results"][name]),
        "higher_is_better": {_metric_name(key): known[metric] for key, metric in metrics.items() if metric in known},
        "questions": results["n-samples"][name]["effective"],
        "of": results["n-samples"][name]["original"],  # how many there are without a limit
        "cut": len({sample["doc_id"] for sample in results["samples"][name] if sample["cut"]}),
        "fewshot": results["n-shot"][name],
        "version": results["versions"][name],
        "hash": _task_hash(results["samples"][name]),
    }


def _group_summary(results: Mapping[str, Any], name: str, leaves: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the summary of a group or tag, with the mean over its tasks where lm-eval does not average them."""
    metrics = _numbers(results["results"].get(name, {})) or _mean([leaf["metrics"] for leaf in leaves])
    known = [leaf["higher_is_better"] for leaf in leaves]
    directions = {key: _common(of_leaf[key] for of_leaf in known if key in of_leaf) for key in metrics}
    return {
        "metrics": metrics,
        "higher_is_better": {key: higher for key, higher in directions.items() if higher is not None},
        "questions": sum(leaf["questions"] for leaf in leaves),
        "of": sum(leaf["of"] for leaf in leaves),
        "cut": sum(leaf["cut"] for leaf in leaves),
        "fewshot": _common(leaf["fewshot"] for leaf in leaves),
        "version": results["versions"].get(name, leaves[0]["version"]),
        "hash": None,
    }


def _numbers(result: Mapping[str, Any]) -> dict[str, float]:
    return {_metric_name(key): value for key, value in result.items() if isinstance(value, float)}


def _mean(metrics: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of the metrics that all tasks have, with the standard errors of independent questions."""
    mean = {}
    for key in metrics[0]:
        if all(key in of_task for of_task in metrics):  # a single question has no standard error
            values = [of_task[key] for of_task in metrics]
            total = math.hypot(*values) if key.endswith("_stderr") else math.fsum(values)
            mean[key] = total / len(metrics)
    return mean


def _common(values: Iterable[Any]) -> Any:
    """Return the value that all have in common; None where they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _metric_name(key: str) -> str:
    """Return moesift's name of a metric of lm-eval.

    That is "acc" for "acc,none" and "acc_stderr" for "acc_stderr,none". A filter of the answers stays in it:
    "exact_match,strict-match" and "exact_match,strict-match_stderr".
    """
    metric, _, answers = key.partition(",")
    if answers in ("", "none"):
        return metric
    name, error, _ = metric.partition("_stderr")
    return f"{name},{answers}{error}"


def _task_hash(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return what lm-eval calls the hash of a task: of its questions, prompts and right answers, in their order."""
    hashes = (sample["doc_hash"] + sample["prompt_hash"] + sample["target_hash"] for sample in samples)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _question_rows(name: str, task: Any, samples: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """Return rows of QUESTIONS; a metric that is not a number for a single question has none."""
    rows = []
    for sample in samples:
        answers = sample["filtered_resps"]
        is_ranked = isinstance(answers[0], (tuple, list)) and len(answers[0]) == 2
        likelihoods = [answer[0] for answer in answers] if is_ranked else None
        for metric in sample["metrics"]:
            if not isinstance(sample[metric], (int, float)):
                continue
            if likelihoods is None:
                predicted = str(answers[0])
            else:
                predicted = str(likelihoods.index(max(likelihoods))) if metric == "acc" else None
            label = _metric_name(f"{metric},{sample['filter']}")
            question = (name, sample["doc_id"], sample["doc_hash"], label, float(sample[metric]))
            rows.append((*question, str(_gold(task, sample)), predicted, likelihoods, sample["cut"]))
    return rows


def _gold(task: Any, sample: Mapping[str, Any]) -> Any:
    """Return the right answer of a question; of a multiple-choice task, its place among the answers."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return sample["target"]
    if task.multiple_input:  # as in WinoGrande: see `read_questions`
        return task.doc_to_text(sample["doc"])
    choices = task.doc_to_choice(sample["doc"])
    return choices.index(sample["target"]) if sample["target"] in choices else sample["target"]
