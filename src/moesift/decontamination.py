"""Examples that share a run of words with a question of an evaluation."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

FEWEST = 8  # words of a question that is shorter than the run and still looked for, as a whole

WORD = re.compile(r"\w+")


class Question(NamedTuple):
    """A question of an evaluation with its right answer."""

    task: str
    number: int
    text: str


def contaminated(ids: Sequence[str], texts: Sequence[str], questions: Iterable[Question], words: int) -> pl.DataFrame:
    """Return the examples that share `words` consecutive words with a question, and with which.

    Words are compared in lower case and without punctuation. A question of fewer words is looked for as a whole if it
    has at least eight; a shorter one says too little to tell a copy from a coincidence.

    Args:
        ids: of the examples.
        texts: of the examples, all turns.

    Returns:
        Columns id, task, question (its number in the task), run (the words), one row an example and question.
    """
    found_in: dict[int, dict[str, list[Question]]] = {}  # by the length of the run
    for question in questions:
        own = WORD.findall(question.text.lower())
        length = min(words, len(own))
        if length >= min(FEWEST, words):
            for run in _runs(own, length):
                found_in.setdefault(length, {}).setdefault(run, []).append(question)
    rows = []
    for example, text in zip(ids, texts, strict=True):
        own = WORD.findall(text.lower())
        hits: dict[tuple[str, int], str] = {}
        for length, index in sorted(found_in.items(), reverse=True):
            for run in _runs(own, length):
                for question in index.get(run, ()):
                    hits.setdefault((question.task, question.number), run)
        rows += [(example, task, number, run) for (task, number), run in hits.items()]
    schema = {"id": pl.String, "task": pl.String, "question": pl.Int64, "run": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _runs(words: Sequence[str], length: int) -> Iterator[str]:
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))
