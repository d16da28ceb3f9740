"""Labelled corruptions: what a selection should leave out, made so that it can be counted whether it does."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import polars as pl

from moesift.errors import UserError

CLEAN = "clean"
WORD = re.compile(r"\S+")


def wrong_choice(response: str, choices: Sequence[str], rng: random.Random) -> str:
    """Return another choice of the same question; `choices` must hold one that differs from the response."""
    return rng.choice([choice for choice in choices if choice != response])


def swapped_response(response: str, responses: Sequence[str], rng: random.Random) -> str:
    """Return the response of another question; `responses` must hold one that differs from this response."""
    # Drawn with their frequencies, so that a common response is no sign of a clean example.
    while (drawn := rng.choice(responses)) == response:
        pass
    return drawn


def shuffled_words(response: str, rng: random.Random) -> str:
    """Return the response with its words in another order, white space in place; it must have two different words."""
    words = WORD.findall(response)
    shuffled = rng.sample(words, len(words))
    while shuffled == words:
        shuffled = rng.sample(words, len(words))
    remaining = iter(shuffled)
    return WORD.sub(lambda _: next(remaining), response)


def truncated(response: str, rng: random.Random) -> str:
    """Return the first 20 to 60% of the response's words, one at least; it must have two words."""
    words = list(WORD.finditer(response))
    kept = max(1, round(len(words) * rng.uniform(0.2, 0.6)))
    return response[: words[kept - 1].end()]


def corrupt(examples: pl.DataFrame, share: float, kinds: Sequence[str], seed: int) -> pl.DataFrame:
    """Corrupt the response of `round(share * rows)` examples, drawn by the seed, and label each in `corruption`.

    Kinds are used as equally as possible: the examples that fewest kinds apply to are served first, each with the kind
    used least so far. An example that no kind applies to stays clean.

    Args:
        examples: columns source, messages (the last one is the response), choices (null or empty where there are none).
        share: share of the rows, in [0, 1).
        kinds: names from `config.Corruption`.
        seed: the same seed gives the same frame.

    Raises:
        UserError: the kinds apply to too few examples.
    """
    rng = random.Random(f"corrupt-{seed}")
    options = _options(examples, kinds)
    corruptible = [row for row, applicable in enumerate(options) if applicable]
    wanted = round(share * len(examples))
    if wanted > len(corruptible):
        raise UserError(
            f"corrupt: {wanted} of {len(examples)} examples are to be corrupted, but {', '.join(kinds) or 'no kind'} "
            f"applies to {len(corruptible)}; ask for a smaller share or for more kinds"
        )
    labels = [CLEAN] * len(examples)
    messages = examples["messages"].to_list()
    for row, kind, corrupted in _spoilt(examples, rng.sample(corruptible, wanted), options, kinds, rng):
        labels[row], messages[row] = kind, corrupted
    return examples.with_columns(
        pl.Series("messages", messages, dtype=examples.schema["messages"]),
        pl.Series("corruption", labels, dtype=pl.String),
    )


def twins(examples: pl.DataFrame, kinds: Sequence[str], seed: str) -> list[list[dict[str, str]] | None]:
    """Return the messages of a corrupted twin of each example, None where no kind applies to it.

    Args:
        examples: as for `corrupt`; kinds are used as equally as there.
        kinds: names from `config.Corruption`.
        seed: the same seed gives the same twins.
    """
    options = _options(examples, kinds)
    found: list[list[dict[str, str]] | None] = [None] * len(examples)
    corruptible = [row for row, applicable in enumerate(options) if applicable]
    for row, _, corrupted in _spoilt(examples, corruptible, options, kinds, random.Random(f"twins-{seed}")):
        found[row] = corrupted
    return found


def _options(examples: pl.DataFrame, kinds: Sequence[str]) -> list[list[str]]:
    """Return which of the kinds apply to each example."""
    by_source = _responses_by_source(examples)
    swappable = {source for source, given in by_source.items() if len(set(given)) > 1}
    return [
        [kind for kind in kinds if kind in _applicable(turns[-1]["content"], listed or [], source in swappable)]
        for source, turns, listed in examples.select("source", "messages", "choices").iter_rows()
    ]


def _spoilt(
    examples: pl.DataFrame, rows: Sequence[int], options: list[list[str]], kinds: Sequence[str], rng: random.Random
) -> Iterator[tuple[int, str, list[dict[str, str]]]]:
    """Yield each row of `rows` with the kind that it gets and its corrupted messages."""
    by_source = _responses_by_source(examples)
    used = Counter(dict.fromkeys(kinds, 0))
    given = examples.select("source", "messages", "choices").rows()
    for row in sorted(rows, key=lambda row: len(options[row])):
        kind = min(options[row], key=used.__getitem__)
        used[kind] += 1
        source, turns, choices = given[row]
        response = _corrupted(kind, turns[-1]["content"], choices or [], by_source[source], rng)
        yield row, kind, [*turns[:-1], {**turns[-1], "content": response}]


def _responses_by_source(examples: pl.DataFrame) -> dict[str, list[str]]:
    responses: dict[str, list[str]] = {source: [] for source in examples["source"].unique(maintain_order=True)}
    for source, turns in examples.select("source", "messages").iter_rows():
        responses[source].append(turns[-1]["content"])
    return responses


def _applicable(response: str, choices: Sequence[str], swappable: bool) -> set[str]:
    words = WORD.findall(response)
    applies = {
        "wrong_choice": any(choice != response for choice in choices),
        "swapped_response": swappable,
        "shuffled_words": len(set(words)) > 1,
        "truncated": len(words) > 1,
    }
    return {kind for kind, does in applies.items() if does}


def _corrupted(kind: str, response: str, choices: Sequence[str], responses: Sequence[str], rng: random.Random) -> str:
    make = {
        "wrong_choice": lambda: wrong_choice(response, choices, rng),
        "swapped_response": lambda: swapped_response(response, responses, rng),
        "shuffled_words": lambda: shuffled_words(response, rng),
        "truncated": lambda: truncated(response, rng),
    }
    return make[kind]()
