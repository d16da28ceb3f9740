"""Write the README.md of each folder of selections and of each adapter, with which they can be shared."""

import json
from collections import defaultdict
from pathlib import Path

import polars as pl

from moesift import flags
from moesift.config import Data
from moesift.files import atomic_write
from moesift.provenance import commit, versions
from moesift.report.cards import adapter_card, origins, selection_card
from moesift.report.comparison import RANDOM


def main(
    selections: list[flags.Parquet],
    pool: flags.Parquet,
    adapters: list[Path],
    evaluations: list[Path],
    base: Path,
    config: str,
    licenses: str,
) -> None:
    """Read what was selected, trained and measured, write the cards.

    Args:
        selections: .../{method}/{budget}/seed-{seed}.parquet.
        pool: parquet of the pool.
        adapters: training.json of the adapter of each selection, in the same order.
        evaluations: JSON of `evaluate` of each adapter, in the same order.
        base: JSON of `evaluate` of the untuned target.
        config: the configuration as JSON.
        licenses: JSON: the licence of each source, or null.
    """
    configured, made_by = json.loads(config), {"versions": versions(), "commit": commit()}
    sources = origins(Data.model_validate(configured["data"]), json.loads(licenses))
    size = pl.scan_parquet(pool).select(pl.len()).collect().item()
    selected = [pl.read_parquet(path, columns=["source", "score"]) for path in selections]
    folders = defaultdict(dict)
    for path, frame in zip(selections, selected, strict=True):
        folders[path.parent][int(path.stem.removeprefix("seed-"))] = frame
    for folder, by_seed in folders.items():
        card = selection_card(folder.parent.name, folder.name, by_seed, size, sources, configured, made_by)
        write(folder / "README.md", card)

    untuned = json.loads(base.read_text())
    measured = [json.loads(path.read_text()) for path in evaluations]
    random = {(one["budget"], one["seed"]): one for one in measured if one["method"] == RANDOM}
    for adapter, frame, one in zip(adapters, selected, measured, strict=True):
        alike = random.get((one["budget"], one["seed"]))
        others = {"untuned": untuned} | ({} if alike in (None, one) else {RANDOM: alike})
        on_hub = not Path(one["made_from"]["model"]).is_dir()
        write(
            adapter.parent / "README.md",
            adapter_card(one, others, frame, sources, configured, made_by["commit"], on_hub),
        )
    print(f"{len(folders)} cards of selections, {len(adapters)} of adapters")


def write(path: Path, card: str) -> None:
    """Write a card, whole or not at all."""
    with atomic_write(path) as part:
        part.write_text(card)


if __name__ == "__main__":
    flags.run(main)
