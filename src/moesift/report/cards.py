"""The cards that travel with what is shared: of a selection as a data set, of a tuned target as a model.

The hub's own classes make them. What is not known is said to be unknown.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from moesift.config import Source, TargetTask
from moesift.demo import wheel
from moesift.report.comparison import BASE, RANDOM, budget_text

TEMPLATES = Path(__file__).parent / "template"
UNKNOWN = "unknown"  # the hub's own word for a licence that nobody has stated
TAGS = ["moesift", "data-selection", "instruction-tuning"]

Rows = Sequence[Mapping[str, str]]


def origins(sources: Sequence[Source], licenses: Mapping[str, str | None]) -> Rows:
    """Return each source, where it comes from, and its licence: as stated by its name, else the wheel task's."""
    rows = []
    for source in sources:
        if isinstance(source, TargetTask) and source.task is not None:
            origin = f"task {source.task} of lm-eval, split {source.split}"
        elif source.wheel is not None:
            origin = f"task {source.wheel} of {wheel.DATA.requirement}, its training split"
        elif source.path is not None:
            origin = f"a local file, {Path(source.path).name}"
        else:
            part = f"split {source.split}" if source.file is None else source.file
            origin = f"{source.hub} on the hub, {part}, revision {source.revision or 'not pinned'}"
        license = licenses.get(source.name) or wheel.LICENSES.get(source.wheel or "") or UNKNOWN
        rows.append({"source": source.name, "from": origin, "licence": license})
    return rows


def selection_card(
    run: tuple[str, str], selections: Mapping[int, pl.DataFrame], sources: Rows, config: Mapping, **values: Any
) -> DatasetCard:
    """Return the card of the selections by a method within a budget, a data set with a configuration for each seed.

    Of each selection, by its seed, the column source is read. Where sources and targets come from is not shown of the
    configuration, as paths concern nobody. The template needs `pool` (how many examples there were), `added` (whether
    queries are among what is kept), `versions` and `commit` as well.
    """
    method, budget = run[0], budget_text(run[1])
    licenses = sorted({source["licence"] for source in sources})
    data = DatasetCardData(
        pretty_name=f"{config['experiment']}: {budget} by {method}",
        license=licenses if len(licenses) > 1 else licenses[0],
        task_categories=["text-generation"],
        tags=TAGS,
        configs=[{"config_name": f"seed-{seed}", "data_files": f"seed-{seed}.parquet"} for seed in selections],
    )
    targets = [target["name"] for target in config["targets"]]
    data_settings = {key: value for key, value in config["data"].items() if key != "sources"}
    settings = {**config, "data": data_settings, "targets": targets}
    values["settings"] = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).strip()
    values["sources"] = _counted(sources, {f"seed {seed}": frame for seed, frame in selections.items()})
    values |= {"method": method, "budget": budget, "targets": targets, "corrupt": config["data"]["corrupt"]}
    return DatasetCard.from_template(data, template_path=str(TEMPLATES / "selection.md.j2"), **values)


def adapter_card(
    run: tuple[str, str, int], outcomes: pl.DataFrame, selection: pl.DataFrame, sources: Rows, **values: Any
) -> ModelCard:
    """Return the card of an adapter, or of a target tuned in full: what was measured, and what it was trained on.

    The template needs `experiment`, `target`, `on_hub` (whether the target has a name there), `targets` (their names),
    `training` (its training.json) and `commit` as well.
    """
    method, budget, seed = run
    full = values["training"]["settings"]["method"] == "full"
    this = "this model" if full else "this adapter"
    of_budget = outcomes.filter(budget=budget, seed=seed)
    columns = {this: of_budget.filter(method=method), "untuned": outcomes.filter(method=BASE)}
    if method != RANDOM and RANDOM in of_budget["method"]:
        columns["random"] = of_budget.filter(method=RANDOM)
    measured = columns[this].drop_nulls("value")["outcome", "metric", "value"].iter_rows()
    values |= {"method": method, "budget": budget_text(budget), "seed": seed, "full": full}
    values["title"] = f"{values['experiment']}: {values['budget']} by {method}, seed {seed}"
    results = [EvalResult("text-generation", name, name, metric, value) for name, metric, value in measured]
    data = ModelCardData(
        base_model=values["target"].partition("@")[0] if values["on_hub"] else None,
        library_name="transformers" if full else "peft",
        pipeline_tag="text-generation",
        tags=TAGS if full else ["lora", *TAGS],
        model_name=values["title"],
        eval_results=results or None,
    )
    rows = {name: {"": f"{name}, {metric}"} for name, metric in columns["untuned"]["outcome", "metric"].iter_rows()}
    for column, frame in columns.items():
        for name, value, error in frame["outcome", "value", "stderr"].iter_rows():
            uncertain = "" if error is None else f" ± {error:.3f}"
            rows[name][column] = "diverged" if value is None else f"{value:.3f}{uncertain}"
    values |= {"measured": _table(list(rows.values())), "sources": _counted(sources, {"examples": selection})}
    return ModelCard.from_template(data, template_path=str(TEMPLATES / "adapter.md.j2"), **values)


def _counted(sources: Rows, frames: Mapping[str, pl.DataFrame]) -> str:
    """Return the table of the sources, with how many examples of each are in some frames."""
    counts = {name: dict(frame["source"].value_counts().iter_rows()) for name, frame in frames.items()}
    return _table([{**row, **{name: f"{n.get(row['source'], 0):,}" for name, n in counts.items()}} for row in sources])


def _table(rows: Rows) -> str:
    """Return rows as a table of Markdown."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(rows[0]), ["---"] * len(rows[0]), *cells])
