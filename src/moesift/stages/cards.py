"""Write the README.md of each folder of selections and of each adapter, with which they can be shared."""

import json
from collections import defaultdict
from pathlib import Path

import polars as pl

from moesift import flags
from moesift.config import Data, TargetTask
from moesift.files import atomic_write
from moesift.provenance import commit, versions
from moesift.report.cards import Rows, adapter_card, origins, selection_card


def main(
    selections: list[flags.Parquet],
    pool: flags.Parquet,
    adapters: list[Path],
    outcomes: flags.Parquet,
    config: str,
    licenses: str,
    adding: list[str],
) -> None:
    """Read what was selected, trained and measured, write the cards.

    Args:
        selections: .../{method}/{budget}/seed-{seed}.parquet.
        pool: parquet of the pool.
        adapters: training.json of the adapter of each selection, in the same order.
        outcomes: the report's table of that name.
        config: the configuration as JSON.
        licenses: JSON: the licence, or null, of each source by `sources`, of each target by `targets`.
        adding: methods whose selections have queries beside examples of the pool.
    """
    configured, measured, made_by = json.loads(config), pl.read_parquet(outcomes), commit()
    of_pool = origins(Data.model_validate(configured["data"]).sources, json.loads(licenses)["sources"])
    targets = [TargetTask.model_validate(target) for target in configured["targets"]]
    of_queries = origins(targets, json.loads(licenses)["targets"])

    def sources_of(method: str, budget: str) -> Rows:
        if budget == "queries":
            return of_queries
        return [*of_pool, *of_queries] if method in adding else of_pool

    about = {"experiment": configured["experiment"], "target": configured["target"]["model"], "commit": made_by}
    about["targets"] = [target.name for target in targets]
    cards, folders = {}, defaultdict(dict)
    for path, adapter in zip(selections, adapters, strict=True):
        run = (path.parent.parent.name, path.parent.name, int(path.stem.removeprefix("seed-")))
        frame = folders[path.parent][run[2]] = pl.read_parquet(path, columns=["source"])
        sources = sources_of(*run[:2])
        training = json.loads(adapter.read_text())
        about |= {"training": training, "on_hub": not Path(training["settings"]["model"]).is_dir()}
        cards[adapter.parent / "README.md"] = adapter_card(run, measured, frame, sources, **about)
    size = f"{pl.scan_parquet(pool).select(pl.len()).collect().item():,}"
    made = {"pool": size, "versions": versions(), "commit": made_by}
    for folder, by_seed in folders.items():
        run = (folder.parent.name, folder.name)
        sources = sources_of(*run[:2])
        made["added"] = run[0] in adding
        cards[folder / "README.md"] = selection_card(run, by_seed, sources, configured, **made)
    for path, card in cards.items():
        with atomic_write(path) as part:
            card.save(part)
    print(f"{len(cards)} cards")


if __name__ == "__main__":
    flags.run(main)
