"""Write the card of each adapter, with what was measured of it: the README.md of a model that can be shared."""

import argparse
import json
from pathlib import Path

import polars as pl

from moesift.config import Data
from moesift.errors import run
from moesift.files import atomic_write, parquet
from moesift.provenance import commit
from moesift.report.cards import adapter_card, origins
from moesift.report.metrics import RANDOM


def main() -> None:
    """Read what was trained and measured, write the cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", type=Path, nargs="+", required=True, help="training.json of each adapter")
    parser.add_argument(
        "--selections", type=parquet, nargs="+", required=True, help="of each adapter, in the same order"
    )
    parser.add_argument("--evaluations", type=Path, nargs="+", required=True, help="likewise, JSON of `evaluate`")
    parser.add_argument("--base", type=Path, required=True, help="JSON of `evaluate`, of the untuned target")
    parser.add_argument("--config", type=json.loads, required=True, help="the sections that made them, as JSON")
    parser.add_argument("--licenses", type=json.loads, required=True, help="JSON: the licence of each source, or null")
    args = parser.parse_args()

    sources = origins(Data.model_validate(args.config["data"]), args.licenses)
    base, of_moesift = json.loads(args.base.read_text()), commit()
    evaluations = [json.loads(path.read_text()) for path in args.evaluations]
    random = {(one["ratio"], one["seed"]): one for one in evaluations if one["method"] == RANDOM}
    for adapter, selection, evaluation in zip(args.adapters, args.selections, evaluations, strict=True):
        alike = random.get((evaluation["ratio"], evaluation["seed"]))
        others = {"untuned": base} | ({} if alike in (None, evaluation) else {RANDOM: alike})
        by_source = dict(pl.read_parquet(selection, columns=["source"])["source"].value_counts().iter_rows())
        on_hub = not Path(evaluation["made_from"]["model"]).is_dir()
        card = adapter_card(evaluation, others, by_source, sources, args.config, of_moesift, on_hub)
        with atomic_write(adapter.parent / "README.md") as part:
            part.write_text(card)
    print(f"{len(evaluations)} cards")


if __name__ == "__main__":
    run(main)
