"""Labelled corruption of a pool, so that one can count how much of it a selection leaves out."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import polars as pl

from moesift.config import Corruption
from moesift.data.corruptions import MAKE, WORD, Corrupted, Example, applicable
from moesift.errors import UserError

CLEAN = "clean"


def corrupt(examples: pl.DataFrame, share: float, kinds: Sequence[Corruption], seed: int) -> pl.DataFrame:
    """Corrupt `round(share * rows)` examples, sampled by the seed, and label each.

    Kinds are used as equally as possible. The examples of a kind are sampled uniformly from those that it applies to,
    so that only the corruption sets them apart from the clean ones that it applies to.

    Args:
        examples: columns source, messages (the last one is the response), choices (null or empty where there are none).
        share: share of the rows, in [0, 1).
        kinds: names from `config.Corruption`.
        seed: the same seed gives the same frame.

    Returns:
        The frame with `corruption` (the kind, or clean), `severity` (in (0, 1], null where clean) and `finished` (False
        where a response lost its end token).

    Raises:
        UserError: the kinds apply to too few examples.
    """
    count = round(share * len(examples))
    if not count:  # large pools are not corrupted, and need not become Python objects
        clean = {"corruption": pl.lit(CLEAN), "severity": pl.lit(None, pl.Float64), "finished": pl.lit(True)}
        return examples.with_columns(**clean)
    rng = random.Random(f"corrupt-{seed}")
    sources = _examples(examples)
    options = [applicable(example, kinds) for example in sources]
    corruptible = sum(map(bool, options))
    if count > corruptible:
        raise UserError(
            f"corrupt: {count} of {len(examples)} examples are to be corrupted, but {', '.join(kinds) or 'no kind'} "
            f"applies to {corruptible}; ask for a smaller share or for more kinds"
        )
    labels = [CLEAN] * len(examples)
    severities: list[float | None] = [None] * len(examples)
    finished = [True] * len(examples)
    messages = examples["messages"].to_list()
    for row, kind in _assigned(options, kinds, count, rng):
        labels[row] = kind
        messages[row], severities[row], finished[row] = MAKE[kind](sources[row], rng)
    return examples.with_columns(
        pl.Series("messages", messages, dtype=examples.schema["messages"]),
        pl.Series("corruption", labels, dtype=pl.String),
        pl.Series("severity", severities, dtype=pl.Float64),
        pl.Series("finished", finished, dtype=pl.Boolean),
    )


def negatives(examples: pl.DataFrame, kinds: Sequence[Corruption], seed: str) -> list[Corrupted | None]:
    """Return a corrupted negative of each example, None where no kind applies to it.

    Args:
        examples: as for `corrupt`; kinds are used as equally as there.
        kinds: names from `config.Corruption`.
        seed: the same seed gives the same negatives.
    """
    sources = _examples(examples)
    options = [applicable(example, kinds) for example in sources]
    rng = random.Random(f"twins-{seed}")  # another word would give other negatives than earlier releases
    corrupted: list[Corrupted | None] = [None] * len(examples)
    uses: Counter[Corruption] = Counter()
    # Examples with the fewest options choose first, each the kind that was used least so far.
    for row in sorted(range(len(examples)), key=lambda row: len(options[row])):
        if options[row]:
            kind = min(options[row], key=uses.__getitem__)
            uses[kind] += 1
            corrupted[row] = MAKE[kind](sources[row], rng)
    return corrupted


def applicable_kinds(examples: pl.DataFrame, kinds: Sequence[Corruption]) -> list[list[Corruption]]:
    """Return for each example which of the kinds apply to it: those whose corrupted examples it is comparable with."""
    return [applicable(example, kinds) for example in _examples(examples)]


def length_bin(response: str) -> int:
    """Return the bin of a response's length: one bin a word up to 5 words, then bins a quarter wide."""
    return math.floor(math.log(max(1, len(WORD.findall(response))), 1.25))


def _assigned(
    options: Sequence[Sequence[Corruption]], kinds: Sequence[Corruption], count: int, rng: random.Random
) -> Iterator[tuple[int, Corruption]]:
    """Yield `count` rows, each with a kind that applies to it; kinds that apply to the fewest rows choose first."""
    eligible = {kind: {row for row, fitting in enumerate(options) if kind in fitting} for kind in kinds}
    while count:  # several rounds where the division leaves a remainder, or a kind cannot fill its part
        kinds = sorted((kind for kind in kinds if eligible[kind]), key=lambda kind: len(eligible[kind]))
        part = max(1, count // len(kinds))
        for kind in kinds:
            for row in rng.sample(sorted(eligible[kind]), min(part, count, len(eligible[kind]))):
                for rows in eligible.values():
                    rows.discard(row)
                count -= 1
                yield row, kind


def _examples(frame: pl.DataFrame) -> list[Example]:
    """Return each example with the responses that a swap may take."""
    rows = frame.select("source", "messages", "choices").rows()
    similar: dict[tuple[str, int], list[str]] = defaultdict(list)
    by_source: dict[str, list[str]] = defaultdict(list)
    for source, turns, _ in rows:
        if not turns[-1].get("more"):
            by_source[source].append(turns[-1]["content"])
            similar[source, length_bin(turns[-1]["content"])].append(turns[-1]["content"])
    elsewhere = {
        source: [text for other, texts in by_source.items() if other != source for text in texts]
        for source in by_source
    }
    return [
        Example(
            turns,
            choices or [],
            similar[source, length_bin(turns[-1]["content"])],
            by_source[source],
            elsewhere[source],
        )
        for source, turns, choices in rows
    ]
