"""Examples that share a run of words with a question of an evaluation."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

FEWEST = 8  # words of a question that is shorter than the run and still looked for, as a whole

# A blank that is to be filled in ("____") is no word.
WORD = re.compile(r"[^\W_]+")

# What prompts put around a question, and the lettered answers that some put below it.
FRAME = re.compile(r"\A\s*(?:question|problem|goal|q)\s*:|(?:\banswer|^a)\s*:\s*\Z", re.IGNORECASE | re.MULTILINE)
LETTERED = re.compile(r"^\s*\(?A[.):]\s.*\Z", re.MULTILINE | re.DOTALL)
LETTER = re.compile(r"^\s*\(?[A-Z][.):]\s+", re.MULTILINE)


class Question(NamedTuple):
    """A question of an evaluation, as it is asked, with all of its answers, right and wrong."""

    task: str
    number: int
    prompt: str
    answers: Sequence[str]


def contaminated(ids: Sequence[str], texts: Sequence[str], questions: Iterable[Question], words: int) -> pl.DataFrame:
    """Return the examples that share `words` consecutive words with a question, and with which.

    Words are compared in lower case and without punctuation. A question counts with each of its answers behind it, and
    without what the prompt puts around it ("Question:", "Answer:", the letters of the answers): a pool has the question
    in another frame or in none. One of fewer words is looked for as a whole, alone and with each answer, if that has at
    least eight; what is shorter says too little to tell a copy from a coincidence.

    Args:
        ids: of the examples.
        texts: of the examples, all turns.

    Returns:
        Columns id, task, question (its number in the task), run (the words), one row an example and question.
    """
    found_in: dict[int, dict[str, list[Question]]] = {}  # by the length of the run
    for question in questions:
        for own in _forms(question):
            length = min(words, len(own))
            if length >= min(FEWEST, words):
                for run in _runs(own, length):
                    alike = found_in.setdefault(length, {}).setdefault(run, [])
                    if not alike or alike[-1] is not question:  # the forms of a question share their beginning
                        alike.append(question)
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


def _forms(question: Question) -> list[list[str]]:
    """Return the words of a question alone, and of it with each of its answers."""
    prompt = FRAME.sub("", question.prompt)
    lettered = LETTERED.search(prompt)
    asked = prompt if lettered is None else prompt[: lettered.start()]
    # Where the prompt lists the answers, lm-eval calls them by their letters alone.
    answers = question.answers if lettered is None else LETTER.split(lettered[0])[1:]
    return [WORD.findall(text.lower()) for text in (asked, *(f"{asked}\n{answer}" for answer in answers))]


def _runs(words: Sequence[str], length: int) -> Iterator[str]:
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))
