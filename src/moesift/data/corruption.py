"""Labelled corruption of a pool: what a selection should leave out, made so that it can be counted whether it does."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import polars as pl

from moesift.config import Corruption
from moesift.data.corruptions import MAKE, WORD, Given, Corrupted, applicable
from moesift.errors import UserError

CLEAN = "clean"


def corrupt(examples: pl.DataFrame, share: float, kinds: Sequence[Corruption], seed: int) -> pl.DataFrame:
    """Corrupt `round(share * rows)` examples, drawn by the seed, and label each.

    Kinds are used as equally as possible, and each is made of examples drawn evenly from those that it applies to: so
    what tells them from clean examples that it applies to is the corruption alone, and not which were chosen for it.

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
    wanted = round(share * len(examples))
    if not wanted:  # the pools that are large are not corrupted, and need not be Python objects
        clean = {"corruption": pl.lit(CLEAN), "severity": pl.lit(None, pl.Float64), "finished": pl.lit(True)}
        return examples.with_columns(**clean)
    rng = random.Random(f"corrupt-{seed}")
    given = _given(examples)
    options = [applicable(example, kinds) for example in given]
    corruptible = [row for row, fitting in enumerate(options) if fitting]
    if wanted > len(corruptible):
        raise UserError(
            f"corrupt: {wanted} of {len(examples)} examples are to be corrupted, but {', '.join(kinds) or 'no kind'} "
            f"applies to {len(corruptible)}; ask for a smaller share or for more kinds"
        )
    labels = [CLEAN] * len(examples)
    severities: list[float | None] = [None] * len(examples)
    finished = [True] * len(examples)
    messages = examples["messages"].to_list()
    for row, kind in _drawn(options, kinds, wanted, rng):
        labels[row] = kind
        messages[row], severities[row], finished[row] = MAKE[kind](given[row], rng)
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
    given = _given(examples)
    options = [applicable(example, kinds) for example in given]
    rng = random.Random(f"negatives-{seed}")
    found: list[Corrupted | None] = [None] * len(examples)
    used: Counter[Corruption] = Counter()
    # Every example is to have one: those that fewest kinds apply to come first, each with the kind used least so far.
    for row in sorted(range(len(examples)), key=lambda row: len(options[row])):
        if options[row]:
            kind = min(options[row], key=used.__getitem__)
            used[kind] += 1
            found[row] = MAKE[kind](given[row], rng)
    return found


def applicable_kinds(examples: pl.DataFrame, kinds: Sequence[Corruption]) -> list[list[Corruption]]:
    """Return which of the kinds apply to each example: what a clean one may fairly be compared with."""
    return [applicable(example, kinds) for example in _given(examples)]


def length_bin(response: str) -> int:
    """Return the bin of a response's length: each number of words to 5 alone, then steps of a quarter."""
    return math.floor(math.log(max(1, len(WORD.findall(response))), 1.25))


def _drawn(
    options: Sequence[Sequence[Corruption]], kinds: Sequence[Corruption], wanted: int, rng: random.Random
) -> Iterator[tuple[int, Corruption]]:
    """Yield `wanted` rows, each with a kind that applies to it; the kinds that apply to fewest rows choose first."""
    eligible = {kind: {row for row, fitting in enumerate(options) if kind in fitting} for kind in kinds}
    while wanted:  # more than once where the division leaves a rest, or a kind cannot fill its part
        kinds = sorted((kind for kind in kinds if eligible[kind]), key=lambda kind: len(eligible[kind]))
        part = max(1, wanted // len(kinds))
        for kind in kinds:
            for row in rng.sample(sorted(eligible[kind]), min(part, wanted, len(eligible[kind]))):
                for rows in eligible.values():
                    rows.discard(row)
                wanted -= 1
                yield row, kind


def _given(examples: pl.DataFrame) -> list[Given]:
    """Return each example with the responses that swaps may draw from."""
    rows = examples.select("source", "messages", "choices").rows()
    alike: dict[tuple[str, int], list[str]] = defaultdict(list)
    own: dict[str, list[str]] = defaultdict(list)
    for source, turns, _ in rows:
        own[source].append(turns[-1]["content"])
        alike[source, length_bin(turns[-1]["content"])].append(turns[-1]["content"])
    foreign = {source: [text for other, texts in own.items() if other != source for text in texts] for source in own}
    return [
        Given(turns, choices or [], alike[source, length_bin(turns[-1]["content"])], own[source], foreign[source])
        for source, turns, choices in rows
    ]
