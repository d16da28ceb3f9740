"""lm-eval's index of tasks: which there are, and which cannot be run here. Neither data nor a model are read."""

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moesift.errors import UserError


@functools.cache  # lm-eval reads the files of all its tasks, thousands
def task_manager(tasks_folder: Path | None = None) -> Any:
    """Return lm-eval's `TaskManager` of the tasks in a folder; None takes the tasks that lm-eval ships."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=tasks_folder, include_defaults=tasks_folder is None)


def refuse_unknown(tasks: Sequence[str], tasks_folder: Path | None = None) -> None:
    """Refuse names that are not a task, group or tag.

    Raises:
        UserError: with the names that are similar.
    """
    known = task_manager(tasks_folder).task_index
    for name in tasks:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"evaluate.tasks: unknown task {name}{hint}")


def unusable(tasks: Sequence[str], from_hub: bool, tasks_folder: Path | None = None) -> dict[str, str]:
    """Return what is wrong with tasks that would stop an evaluation, or overwrite what another one measured, by task.

    One may be unknown, be in another one, run code that a model writes or that a data set or a metric brings, need a
    package that is not there, or ask about images or sounds.

    Args:
        tasks: lm-eval's names of tasks, groups and tags, all that are evaluated.
        from_hub: their data come from the hub, as lm-eval reads them.
        tasks_folder: as for `task_manager`.
    """
    index = task_manager(tasks_folder).task_index
    asked: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for task in tasks:
        try:
            refuse_unknown([task], tasks_folder)
        except UserError as error:
            wrong[task] = str(error)
        for name, entry in members(task, index).items():
            reason = f"is in {asked[name]} as well; name it once" if name in asked else _unusable(entry, from_hub)
            if reason and task not in wrong:
                wrong[task] = f"evaluate.tasks: {name}{'' if name == task else f' of {task}'} {reason}"
            asked.setdefault(name, task)
    return wrong


def members(task: Any, index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of lm-eval's index of a task, or of all tasks of a group or tag, by their names.

    A task is a name, or as in lm-eval's files of groups a list, or a mapping with a `task` or `group`. Those that have
    no file of their own are left out.
    """
    if isinstance(task, Mapping):
        return members(task.get("task", task.get("group")), index)
    if not isinstance(task, str):
        return functools.reduce(lambda found, one: found | members(one, index), task or [], {})
    entry = index.get(task)
    if entry is None:
        return {}
    if entry.kind.name == "TAG":
        return members(sorted(entry.tags), index)
    return members(entry.cfg["task"], index) if entry.kind.name == "GROUP" else {task: entry}


def _unusable(entry: Any, from_hub: bool) -> str | None:
    """Return why a task cannot be run, or None."""
    from lm_eval.api.registry import metric_registry
    from lm_eval.tasks._yaml_loader import load_yaml

    setting = entry.cfg or {}
    if setting.get("unsafe_code"):
        return "runs code that the model writes, and moesift runs none; remove it"
    if from_hub and (setting.get("dataset_kwargs") or {}).get("trust_remote_code"):
        return "needs code from its data set's repository, and moesift runs none; remove it"
    if any(setting.get(key) for key in ("doc_to_image", "doc_to_audio")):
        return "asks about images or sounds, and the target reads text alone; remove it"
    if setting.get("process_results") is None:
        for metric in setting.get("metric_list") or []:
            name = metric.get("metric")
            if metric.get("hf_evaluate") or ("/" not in str(name) and name not in metric_registry):
                return f"is measured by {name}, whose code is on the hub, and moesift runs none; remove it"
    if any("evaluate.load(" in file.read_text(encoding="utf-8") for file in _code(setting.values())):
        return "is measured by a metric whose code is on the hub, and moesift runs none; remove it"
    try:
        if entry.yaml_path is not None:
            load_yaml(entry.yaml_path, resolve_func=True)
    except ImportError as error:
        package = f"the package {error.name}" if error.name else "a package"
        return f"needs {package} that is not installed here ({' '.join(str(error).split())})"
    except Exception as error:  # lm-eval's own code of a task may fail in any way
        return f"has code that cannot be loaded here: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None


def _code(values: Iterable[Any]) -> set[Path]:
    """Return the files of functions that a task's settings name, each by its path and `.function`."""
    found = set()
    for value in values:
        if isinstance(value, str) and value.startswith("/") and "\n" not in value:
            file = Path(value.rpartition(".")[0] + ".py")
            found |= {file} if len(value) < 1000 and file.is_file() else set()
        elif isinstance(value, (Mapping, list)):
            found |= _code(value.values() if isinstance(value, Mapping) else value)
    return found
