"""Write a selection as other trainers take it: a folder with JSON lines of messages, and their configuration."""

from pathlib import Path

import polars as pl

from moesift import flags
from moesift.files import atomic_write
from moesift.select.trainers import DATA, FILES
from moesift.selection import SelectionFormat


def main(selection: flags.Parquet, formats: list[SelectionFormat], out: Path) -> None:
    """Read a selection, write the folder.

    Args:
        selection: parquet of the selection.
        formats: values of `select.format`; the configuration of each that has one is written too.
        out: folder to write, .../{method}/{budget}/seed-{seed}.
    """
    rows = pl.scan_parquet(selection)  # trainers read `messages` and leave the other columns alone
    with atomic_write(out) as folder:
        folder.mkdir()
        rows.sink_ndjson(folder / DATA)
        for name, content in (FILES[format] for format in formats if format in FILES):
            (folder / name).write_text(content(out), encoding="utf-8")
    role = pl.element().struct.field("role")
    repeats = pl.col("messages").list.eval((role == role.shift()).any()).list.first().sum()
    count, repeating = rows.select(pl.len(), repeats).collect(engine="streaming").row(0)
    print(f"{count} examples")
    if repeating:
        print(f"{repeating} have two turns of one role in a row: LLaMA-Factory skips them, and some templates fail")


if __name__ == "__main__":
    flags.run(main)
