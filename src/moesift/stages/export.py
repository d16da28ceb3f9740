"""Write a selection as other trainers take it: a folder with JSON lines of messages, and their configuration."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from moesift import flags
from moesift.data.pool import MESSAGES, ROW_GROUP
from moesift.files import atomic_write
from moesift.select.trainers import DATA, FILES, OWN_DATA, as_handed, as_llama_factory, is_masked
from moesift.selection import SelectionFormat


def main(selection: flags.Parquet, formats: list[SelectionFormat], out: Path) -> None:
    """Read a selection, write the folder.

    Args:
        selection: parquet of the selection.
        formats: values of `select.format`; the configuration of each that has one is written too.
        out: folder to write, .../{method}/{budget}/seed-{seed}.
    """
    rows = pl.scan_parquet(selection)  # trainers read `messages` and leave the other columns alone
    has_more = rows.collect_schema()["messages"] == MESSAGES
    with atomic_write(out) as folder:
        folder.mkdir()
        if has_more:
            write_lines(map(as_handed, each(selection)), folder / DATA)
        else:
            rows.sink_ndjson(folder / DATA)
        own = map(as_llama_factory, each(selection)) if has_more and "llama_factory" in formats else None
        if own and (left_out := write_lines(own, folder / OWN_DATA)):
            print(f"{left_out} are not in {OWN_DATA}: LLaMA-Factory has no place for something that they have")
        for name, content in (FILES[format] for format in formats if format in FILES):
            (folder / name).write_text(content(out, has_more), encoding="utf-8")
    role = pl.element().struct.field("role")
    repeats = pl.col("messages").list.eval((role == role.shift()).any()).list.first().sum()
    count, repeating = rows.select(pl.len(), repeats).collect(engine="streaming").row(0)
    print(f"{count} examples")
    if repeating:
        print(f"{repeating} have two turns of one role in a row: LLaMA-Factory skips them, and some templates fail")
    if has_more and (masked := sum(any(map(is_masked, row["messages"])) for row in each(selection))):
        print(f"{masked} have responses with `train: false`: axolotl leaves them out of the loss, and TRL does not")


def each(selection: Path) -> Iterable[dict[str, Any]]:
    """Yield the rows of a selection, of which few are Python objects at once."""
    for block in pl.scan_parquet(selection).collect_batches(chunk_size=ROW_GROUP):
        yield from block.iter_rows(named=True)


def write_lines(rows: Iterable[dict[str, Any] | None], path: Path) -> int:
    """Write rows as JSON lines, and return how many are None."""
    left_out = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            left_out += row is None
            if row is not None:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return left_out


if __name__ == "__main__":
    flags.run(main)
