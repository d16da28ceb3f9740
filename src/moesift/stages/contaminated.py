"""Find the examples of the pool that repeat a question of an evaluation task, once for all methods."""

import argparse
from pathlib import Path

import polars as pl

from moesift import config, flags
from moesift.data.decontamination import contaminated
from moesift.data.pool import texts
from moesift.errors import run
from moesift.evaluation import read_questions
from moesift.files import atomic_write, parquet


def main() -> None:
    """Read the pool and every test question, write who shares what with which."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=parquet, required=True)
    parser.add_argument("--tasks-folder", type=Path, help="task files of `evaluation_data`; without it lm-eval's own")
    parser.add_argument("--out", type=Path, required=True, help="parquet of the examples and questions")
    flags.add(parser, config.Select, "decontaminate")
    parser.add_argument("--tasks", nargs="+", required=True, help="lm-eval's names of tasks and groups")
    args = parser.parse_args()

    pool = pl.read_parquet(args.pool, columns=["id", "messages"])
    questions = read_questions(args.tasks, args.tasks_folder)
    found = contaminated(pool["id"].to_list(), texts(pool), questions, args.decontaminate)
    with atomic_write(args.out) as part:
        found.write_parquet(part)
    print(f"{found['id'].n_unique()} of {pool.height} examples share a run of words with {len(questions)} questions")


if __name__ == "__main__":
    run(main)
