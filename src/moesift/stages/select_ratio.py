"""Keep the best part of the pool by score, with the text that training reads, and say what was left out and why."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from moesift import config, flags
from moesift.data.blocks import blocks_of, write_blocks
from moesift.errors import run
from moesift.files import parquet, whole
from moesift.scoring import ids
from moesift.scoring.diversity import k_centre
from moesift.scoring.selection import below_top, distinct, drawn, keep, quotas, ranked, require, without

BLOCK = 500_000  # rows of the pool, and of what was left out, that are in memory at once with their text


def main() -> None:
    """Read scores and pool, write the selection and what was dropped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=parquet, required=True)
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--ratio", type=float, required=True, help="share of the pool to keep")
    parser.add_argument("--contaminated", type=parquet, help="parquet of `contaminated`, whose examples are dropped")
    parser.add_argument("--near-duplicates", type=parquet, help="parquet of `near_duplicates`, to keep the best")
    parser.add_argument(
        "--usage",
        nargs=2,
        metavar=("PARQUET", "COLUMN"),
        help="how each example uses the experts, for diversity",
    )
    parser.add_argument("--out", type=Path, required=True, help="parquet of the selection")
    parser.add_argument("--dropped", type=Path, required=True, help="parquet of what was left out, with the reason")
    parser.add_argument("--seed", type=int, required=True, help="of what is drawn at random")
    flags.add(parser, config.Select, "format", "drop_top", "quota", "reject", "diversity")
    args = parser.parse_args()

    # Of the pool only what is kept is ever in memory with its text, of the scores three numbers an example.
    pool = pl.scan_parquet(args.pool).select("id", "source", "source_index", "messages", "finished")
    all_of = dict(pool.group_by("source").len().sort("source").collect(engine="streaming").iter_rows())
    # Of the whole pool, so that every method keeps equally many, whatever it cannot score.
    size = sum(all_of.values())
    count = max(1, round(args.ratio * size))
    scores = pl.scan_parquet(args.scores).select("id", "source", "score", "reason")
    as_numbers = ids.are_hexadecimal(scores)

    def keyed(frame: pl.LazyFrame, *columns: str) -> pl.DataFrame:
        keys = [ids.numbers(pl.col(column)) for column in columns] if as_numbers else []
        return frame.with_columns(keys).collect(engine="streaming")

    few = [pl.col(column).cast(pl.Categorical) for column in ("source", "reason")]
    sifted = ranked(keyed(scores.with_columns(few), "id"))
    if args.contaminated is not None:
        reason = pl.format("shares a run of words with question {} of {}: {}", "question", "task", "run")
        sifted = without(sifted, keyed(pl.scan_parquet(args.contaminated).select("id", reason=reason), "id"))
    sifted = below_top(sifted, args.drop_top)
    if args.near_duplicates is not None:
        sifted = distinct(sifted, keyed(pl.scan_parquet(args.near_duplicates), "id", "other"))
    if args.reject is not None:
        sifted = drawn(sifted, all_of, args.reject, args.seed)
    require(sifted, count)
    by_source = None
    if args.quota is not None:
        left = dict(sifted.ranking["source"].cast(pl.String).value_counts().iter_rows())
        by_source = quotas(left, all_of, count, args.quota)
    spread = None
    if args.diversity is not None:
        usage = keyed(pl.scan_parquet(args.usage[0]).select("id", usage=args.usage[1]).drop_nulls(), "id")
        spread = (args.diversity, lambda examples, number: k_centre(_embeddings(usage, examples), number))
    best, dropped = keep(sifted, count, by_source, spread)

    best = best.with_columns(ids.digits(best["id"]))
    texts = _rows_of(pool, best["id"], size)
    selection = best.join(texts, on="id", how="left", validate="1:1", maintain_order="left")
    with whole(args.out) as part:
        selection.write_parquet(part)
    # In digits the ids of half a large pool take gigabytes.
    with whole(args.dropped) as part:
        write_blocks((block.with_columns(ids.digits(block["id"])) for block in blocks_of(dropped, BLOCK)), part)
    if args.format == "jsonl":
        with whole(args.out.with_suffix(".jsonl")) as part:
            selection.write_ndjson(part)
    print(f"{count} of {size} examples kept, scores {best['score'].max():.4g} to {best['score'].min():.4g}")
    print(f"{dropped.height} left out for another reason than their rank")


def _embeddings(usage: pl.DataFrame, examples: Sequence[str] | Sequence[int]) -> np.ndarray:
    """Return the usage of examples, by id, (examples, layers * experts) float32, without a Python number for each."""
    found = pl.DataFrame({"id": examples}, {"id": usage.schema["id"]}).join(usage, on="id", maintain_order="left")
    return found["usage"].list.to_array(len(usage["usage"][0])).to_numpy()


def _rows_of(pool: pl.LazyFrame, examples: pl.Series, size: int) -> pl.DataFrame:
    """Return the rows of some examples of the pool, without the text of all in memory at once."""
    rows = pool.select("id").with_row_index("row").join(examples.to_frame().lazy(), on="id", how="semi")
    found = rows.select("row").collect(engine="streaming")["row"].cast(pl.Int64).sort()
    parts = []
    for start in range(0, size, BLOCK):
        own = found.filter(found.is_between(start, start + BLOCK, closed="left")) - start
        parts.append(pool.slice(start, BLOCK).collect()[own])
    return pl.concat(parts)


if __name__ == "__main__":
    run(main)
