"""Write the card of each folder of selections: the README.md that makes it a data set which can be shared."""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import polars as pl

from moesift.config import Data
from moesift.errors import run
from moesift.files import atomic_write, parquet
from moesift.provenance import commit, versions
from moesift.report.cards import Selected, origins, selection_card


def main() -> None:
    """Read the selections, write a card for each method and ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--selections", type=parquet, nargs="+", required=True, help=".../{method}/ratio-{r}/seed-{s}.parquet"
    )
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--config", type=json.loads, required=True, help="the sections that made them, as JSON")
    parser.add_argument("--licenses", type=json.loads, required=True, help="JSON: the licence of each source, or null")
    args = parser.parse_args()

    pool = pl.scan_parquet(args.pool).select(pl.len()).collect().item()
    sources = origins(Data.model_validate(args.config["data"]), args.licenses)
    made_by = {"versions": versions(), "commit": commit()}
    folders = defaultdict(list)
    for path in args.selections:
        folders[path.parent].append(path)
    for folder, paths in folders.items():
        method, ratio = folder.parent.name, float(folder.name.removeprefix("ratio-"))
        selections = [selected(path) for path in paths]
        card = selection_card(method, ratio, selections, pool, sources, args.config, made_by)
        with atomic_write(folder / "README.md") as part:
            part.write_text(card)
    print(f"{len(folders)} cards")


def selected(path: Path) -> Selected:
    """Return what a card says of a selection."""
    found = pl.read_parquet(path, columns=["source", "score"])
    by_source = dict(found["source"].value_counts().iter_rows())
    scores = found["score"].to_numpy()
    return Selected(int(path.stem.removeprefix("seed-")), by_source, (scores.max().item(), scores.min().item()))


if __name__ == "__main__":
    run(main)
