"""Pairs of examples and their revisions by experts -> a pool with both sides of each."""

import argparse
import gzip
import json
from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.data.corruption import CLEAN
from moesift.data.formats import Rejected, to_messages
from moesift.data.pool import COLUMNS, EXAMPLE, ROW_GROUP
from moesift.data.rows import UNREADABLE
from moesift.errors import UserError, run
from moesift.files import whole
from moesift.study.human import SOURCE, alpaca


def main() -> None:
    """Read the pairs, write the pool: an example's id is the number of its pair and its side."""
    parser = argparse.ArgumentParser(description=__doc__)
    flags.add(parser, config.Human, "path", "pairs")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="parquet of the pool")
    args = parser.parse_args()

    try:
        content = Path(args.path).read_bytes()
        rows = json.loads(gzip.decompress(content) if args.path.endswith(".gz") else content)
    except UNREADABLE as error:
        raise UserError(f"{args.path}: cannot be read as JSON: {error}") from error
    if not isinstance(rows, list):
        raise UserError(f"{args.path}: must be a list of pairs, not {type(rows).__name__}")
    examples = []
    for number, pair in enumerate(alpaca(rows, args.pairs, args.seed, args.path)):
        for side, row in pair.items():
            try:
                messages = to_messages(row, "alpaca")
            except Rejected as reason:
                raise UserError(f"{args.path}: {reason}: {str(row)[:200]}") from None
            examples.append((f"{number:05}-{side}", SOURCE, number, messages, [], CLEAN, None, True))
    pool = pl.DataFrame(examples, schema={"id": pl.String, **EXAMPLE}, orient="row")
    with whole(args.out) as part:
        pool.select(COLUMNS).write_parquet(part, row_group_size=ROW_GROUP)
    print(f"{args.pairs} pairs of {len(rows)}")


if __name__ == "__main__":
    run(main)
