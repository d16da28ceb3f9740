"""Examples that share a run of consecutive words with a question of an evaluation task."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import polars as pl

from moesift.data.words import as_text, words_of
from moesift.errors import UserError

FREQUENT = 20  # runs that are listed
MINIMUM = 8  # words of a question that is shorter than the run and is still searched for, as a whole

# What prompts put around a question, and the lettered answers that some list below it.
FRAME = re.compile(
    r"\A\s*(?:question|problem|goal|q|问题|题目|問題|質問|问|問)\s*[:：]|"
    r"(?:\banswer|^a|答案|回答|答え|^答)\s*[:：]\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
LETTERED = re.compile(r"^\s*[(（]?A(?:[.):]\s|[．、：）]).*\Z", re.MULTILINE | re.DOTALL)
LETTER = re.compile(r"^\s*[(（]?[A-Z](?:[.):]\s+|[．、：）]\s*)", re.MULTILINE)


class Question(NamedTuple):
    """A question of an evaluation task: its prompt, and all of its answers, right and wrong."""

    task: str
    number: int
    prompt: str
    answers: Sequence[str]


def contaminated(
    ids: Sequence[str], texts: Sequence[str], questions: Iterable[Question], words: int, ignore: Sequence[str] = ()
) -> pl.DataFrame:
    """Return the examples that share `words` consecutive words with a question, and with which question.

    Words are compared in lower case and without punctuation. A question is compared alone and followed by each of its
    answers, without what the prompt puts around it ("Question:", "Answer:", the letters of the answers), since a pool
    may hold it in another frame. A question of fewer words is searched for as a whole, alone and with each answer,
    where that makes eight words or more: fewer do not tell a copy from a coincidence. A phrase that is ignored is taken
    out of the questions: what stands before and after it is compared as two texts.

    Args:
        ids: of the examples.
        texts: of the examples, all turns.
        questions: of the evaluation tasks.
        words: length of the run.
        ignore: phrases, of any length, in any case and punctuation.

    Returns:
        Columns id, task, question (its number in the task), run (the words), one row per example and question.

    Raises:
        UserError: a phrase to be ignored has no words.
    """
    phrases = _phrases(ignore)
    # Questions by each of their runs, by the length of the run.
    index: dict[int, dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for question in questions:
        for variant in _variants(question, phrases):
            length = min(words, len(variant))
            if length < min(MINIMUM, words):
                continue
            for run in _runs(variant, length):
                matches = index[length][run]
                if not matches or matches[-1] is not question:  # the variants of a question have the same beginning
                    matches.append(question)
    rows = []
    for example, text in zip(ids, texts, strict=True):
        content = _words(text)
        shared: dict[tuple[str, int], str] = {}
        for length, by_run in sorted(index.items(), reverse=True):
            for run in _runs(content, length):
                for question in by_run.get(run, ()):
                    shared.setdefault((question.task, question.number), run)
        rows += [(example, task, number, as_text(run.split())) for (task, number), run in shared.items()]
    schema = {"id": pl.String, "task": pl.String, "question": pl.Int64, "run": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def frequent_runs(found: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """Return the runs that most examples share with a question: a phrase that many have by chance is among the first.

    Args:
        found: what `contaminated` returns.
        pool: columns id, source.

    Returns:
        Columns run, total (examples with it), source, task, examples and questions (of this source and this task), of
        the FREQUENT most frequent runs, these and their largest parts first.
    """
    totals = found.group_by("run").agg(total=pl.n_unique("id").cast(pl.Int64))
    totals = totals.sort("total", "run", descending=[True, False]).head(FREQUENT)
    parts = found.join(pool.select("id", "source"), on="id").group_by("run", "source", "task")
    counts = parts.agg(examples=pl.n_unique("id").cast(pl.Int64), questions=pl.n_unique("question").cast(pl.Int64))
    counts = totals.join(counts, on="run").sort(
        "total", "run", "examples", "source", "task", descending=[True, False, True, False, False]
    )
    return counts.select("run", "total", "source", "task", "examples", "questions")


def _variants(question: Question, ignored: re.Pattern | None) -> Iterator[list[str]]:
    """Yield the words of a question alone, and followed by each of its answers: the parts between what is ignored."""
    prompt = FRAME.sub("", question.prompt)
    lettered = LETTERED.search(prompt)
    text = prompt if lettered is None else prompt[: lettered.start()]
    # Where the prompt lists the answers, lm-eval's answers are their letters alone.
    answers = question.answers if lettered is None else LETTER.split(lettered[0])[1:]
    for variant in (text, *(f"{text}\n{answer}" for answer in answers)):
        words = _words(variant)
        if ignored is None:
            yield words
        else:
            yield from map(str.split, ignored.split(f" {' '.join(words)} "))


def _phrases(ignore: Sequence[str]) -> re.Pattern | None:
    """Return a pattern that finds the phrases among words with a space before and after each; None without phrases."""
    phrases = [" ".join(_words(phrase)) for phrase in ignore]
    if "" in phrases:
        raise UserError(f"select.decontaminate.ignore: {ignore[phrases.index('')]!r} has no words")
    longest_first = "|".join(sorted(phrases, key=len, reverse=True))  # words have no character that means something
    return re.compile(rf"(?<= )(?:{longest_first})(?= )") if phrases else None


def _words(text: str) -> list[str]:
    return words_of(text.replace("_", " "))  # a blank to be filled in ("____") is not a word


def _runs(words: Sequence[str], length: int) -> Iterator[str]:
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))
