"""Score the pool by one method, from what was measured of it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from moesift import config, flags
from moesift.data.pool import warmup_examples
from moesift.errors import UserError, run
from moesift.files import parquet, whole
from moesift.scoring import methods, scores, typicality
from moesift.scoring.measurements import READS, TOKENS

NO_HELP = "its IFD is 1 or more: the instruction does not make the response likelier"
TRAINED_ON = "the warm-up trained on it, so that its loss says nothing"


def main() -> None:
    """Read measurements, write the scores, best first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="method", required=True)
    for method, reads in READS.items():
        part = parts.add_parser(method)
        names = ", ".join(f"{quantity} of the {model} model" for quantity, model in reads)
        part.add_argument(
            "--measured",
            nargs=2,
            action="append",
            metavar=("PARQUET", "COLUMN"),
            required=True,
            help=f"where each quantity is: {names}",
        )
        part.add_argument("--out", type=Path, required=True, help="parquet of the scores")
        if method in ("router", "router_untrained"):
            flags.add(part, config.Score, "layers")
        if method in ("random", "reducible"):
            part.add_argument("--seed", type=int, required=True)
        if method == "reducible":
            part.add_argument("--pool", type=parquet, required=True)
            flags.add(part, config.Warmup, "examples")
    args = parser.parse_args()

    examples = pl.read_parquet(args.measured[0][0], columns=["id", "source", "n_tokens"])
    tokens = examples["n_tokens"].to_numpy()
    # Measurements are in the order of the pool. Tokens are in each of them.
    found = [pl.read_parquet(path, columns=[column])[column] for path, column in args.measured if column != TOKENS]
    refused: dict[str, np.ndarray] = {}
    layer_scores = None
    match args.method:
        case "router" | "router_untrained":
            layer_scores = found[0]
            values = methods.calculate_quality_score(*by_layer(layer_scores, args.layers))
        case "expert_gain":
            values = methods.expert_gain(found[0].to_numpy(), found[1].to_numpy(), tokens)
        case "reducible":
            values = methods.reducible(found[0].to_numpy(), found[1].to_numpy(), tokens)
            trained = warmup_examples(pl.read_parquet(args.pool, columns=["id"]), args.examples, args.seed)
            refused[TRAINED_ON] = examples["id"].is_in(trained["id"].implode()).to_numpy()
        case "nll":
            values = methods.likelihood(found[0].to_numpy(), tokens)
        case "ifd":
            values = methods.ifd(found[0].to_numpy(), found[1].to_numpy())
            refused[NO_HELP] = values >= 1
        case "instruction_gain":
            values = methods.instruction_gain(found[0].to_numpy(), found[1].to_numpy())
        case "likelihood_pmi":
            values = methods.likelihood_pmi(found[0].to_numpy(), found[1].to_numpy(), tokens)
        case "typical_pmi":
            columns = (column.to_numpy() for column in found)
            values = typicality.typical_pmi(*columns, tokens, examples["source"].to_numpy())
        case "typical_inputs":
            *nats, sketch = found
            columns = [*(column.to_numpy() for column in nats), as_array(sketch)]
            values = typicality.typical_inputs(*columns, tokens, examples["source"].to_numpy())
        case "length":
            values = methods.length(tokens)
        case "random":
            values = methods.random(examples.height, args.seed)
    table = scores.table(examples, values, refused, layer_scores)
    with whole(args.out) as part:
        table.write_parquet(part)
    print(f"{table.height} examples scored by {args.method}")
    for reason, count in table["reason"].drop_nulls().value_counts(sort=True).iter_rows():
        print(f"{count} without a score: {reason}")


def by_layer(signals: pl.Series, layers: list[int] | Literal["all"]) -> tuple[np.ndarray, Sequence[int]]:
    """Return the signals as an array, (N, L), nan where there are none, and the layers that count."""
    values = as_array(signals)
    routed = values.shape[1]
    if layers != "all" and max(layers) >= routed:
        raise UserError(f"score.layers: {max(layers)} is beyond the {routed} routed layers, numbered from 0")
    return values, range(routed) if layers == "all" else layers


def as_array(lists: pl.Series) -> np.ndarray:
    """Return lists of equally many numbers as an array, nan where there is none."""
    width = lists.list.len().max()
    if not isinstance(width, int):
        raise UserError(f"data.max_length: {scores.NO_RESPONSE} in any example")
    nothing = [float("nan")] * width
    return lists.fill_null(pl.lit(nothing, lists.dtype)).list.to_array(width).to_numpy()


if __name__ == "__main__":
    run(main)
