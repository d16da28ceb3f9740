"""Prepare a target: rows of its origin -> its queries, its held-out examples and the rejected rows."""

from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.data.pool import (
    COLUMNS,
    concatenated,
    conversations,
    deduplicated,
    rejections,
    to_examples,
)
from moesift.data.sources import read_source
from moesift.data.targets import divided
from moesift.demo.wheel import default_cache
from moesift.errors import UserError
from moesift.evaluation.tasks import examples_of, read_questions
from moesift.files import atomic_write


def main(
    target: config.TargetTask,
    pool: list[flags.Parquet],
    tasks: list[str],
    words: int | None,
    seed: int,
    out: Path,
    tasks_folder: Path | None = None,
    own_folder: Path | None = None,
    ignore: list[str] | None = None,
) -> None:
    """Read the origin of a target and the pool, write queries.parquet, heldout.parquet and rejected.parquet.

    Args:
        target: an entry of `targets`.
        pool: parquet of the pool, and of what was held out of it, with which no query and no held-out example of the
            target shares a question or an exchange.
        tasks: lm-eval's names of the tasks that are evaluated, whose questions are none of them either.
        words: consecutive words that an example may not share with a question; null: it may not contain a whole one.
        seed: of the draw.
        out: folder to write the three files to.
        tasks_folder: task files of `evaluation_data`; without it lm-eval's own.
        own_folder: the same of the target's own task.
        ignore: JSON list of phrases that are taken out of these questions.
    """
    try:
        if target.task is not None:
            rows = examples_of(target.task, target.split, own_folder)
        else:
            rows = read_source(target, seed, default_cache())
        own = target.name
        examples, unusable = to_examples({own: rows}, {own: target.format}, {own: target.ignore})
        examples, duplicates = deduplicated(examples)
        others = conversations(concatenated(pl.read_parquet(path, columns=["messages"]) for path in pool))
        questions = read_questions(tasks, tasks_folder)
        lost = pl.concat([unusable, duplicates])
        parts = divided(examples, others, questions, words, target.queries, target.heldout, seed, lost, ignore or ())
    except UserError as error:
        raise UserError(f"targets: {target.name}: {error}") from error
    for name, frame in (
        ("queries", parts.queries.select(COLUMNS)),
        ("heldout", parts.heldout.select(COLUMNS)),
        ("rejected", parts.refused),
    ):
        with atomic_write(out / f"{name}.parquet") as part:
            frame.write_parquet(part)
    print(f"{target.name}: {len(parts.queries)} queries, {len(parts.heldout)} held out, {len(parts.refused)} rejected")
    for line in rejections(parts.refused["reason"]):
        print(line)


if __name__ == "__main__":
    flags.run(main)
