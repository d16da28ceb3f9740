"""Find the examples of the pool that repeat an evaluation question or an example of a target, once for all methods."""

from pathlib import Path

import polars as pl

from moesift import flags
from moesift.data.decontamination import Question, contaminated, frequent_runs
from moesift.data.pool import texts
from moesift.data.turns import text_of
from moesift.evaluation.tasks import read_questions
from moesift.files import atomic_write


def main(
    pool: flags.Parquet,
    out: Path,
    tasks: list[str],
    words: int,
    targets: list[flags.Parquet],
    tasks_folder: Path | None = None,
    ignore: list[str] | None = None,
) -> None:
    """Read the pool and every test question, write which examples share words with which questions.

    Args:
        pool: parquet of the pool.
        out: parquet to write.
        tasks: lm-eval's names of tasks and groups.
        targets: parquet of queries and held-out examples, which are taken for questions.
        words: consecutive words that an example and a question have in common.
        tasks_folder: task files of `evaluation_data`; without it lm-eval's own.
        ignore: JSON list of phrases that are taken out of the questions.
    """
    examples = pl.read_parquet(pool, columns=["id", "source", "messages"])
    questions = read_questions(tasks, tasks_folder)
    for path in targets:
        of_target = pl.read_parquet(path, columns=["source", "source_index", "messages"])
        for source, index, turns in of_target.iter_rows():
            *prompt, answer = map(text_of, turns)
            questions.append(Question(source, index, "\n".join(prompt), [answer]))
    shared = contaminated(examples["id"].to_list(), texts(examples), questions, words, ignore or ())
    with atomic_write(out) as part:
        shared.write_parquet(part)
    count = shared["id"].n_unique()
    print(f"{count} of {examples.height} examples share a run of words with {len(questions)} questions")
    for run, total in frequent_runs(shared, examples).select("run", "total").unique(maintain_order=True).iter_rows():
        print(f"{total} share: {run}")


if __name__ == "__main__":
    flags.run(main)
