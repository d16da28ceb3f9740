"""What a sample of the sources says of the pool: how many examples there are, and whether they fit the models."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from moesift.config import Source
from moesift.data.pool import frequent_reasons, to_examples
from moesift.data.sources import sample_source
from moesift.demo.wheel import default_cache
from moesift.models.chat import Encoded

ROWS = 300  # of each source that are looked at


class Sample(NamedTuple):
    """A sample of a source."""

    source: Source
    examples: pl.DataFrame
    rejected: list[str]  # the reason of each rejected row
    rows: int | None  # in the whole source; None where it does not say

    def size(self, unknown: int) -> float:
        """Return roughly how many examples the source gives; duplicates are not looked for.

        Args:
            unknown: rows of a source that does not say how many it has.
        """
        rows = min(self.rows or unknown, self.source.limit or 2**63)
        return rows * self.examples.height / (self.examples.height + len(self.rejected))

    @property
    def is_whole(self) -> bool:
        """Whether it has all rows of its source."""
        return self.rows is not None and self.rows <= self.examples.height + len(self.rejected)

    def describe(self) -> str:
        """Return a line about the source."""
        rows = "unknown number of rows" if self.rows is None else f"about {self.rows:,} rows"
        limit = "" if self.source.limit is None else f", limit {self.source.limit:,}"
        counts = f"{self.examples.height + len(self.rejected):,} looked at, {len(self.rejected):,} rejected"
        reason = f", most often: {frequent_reasons(self.rejected, 1)[0][0]}" if self.rejected else ""
        return f"{self.source.name}: {rows}{limit}; {counts}{reason}"


class Lengths(NamedTuple):
    """How long examples are for one model, in tokens."""

    mean: float  # cut at data.max_length
    response: float  # of the response alone, likewise
    longest: int  # before it is cut
    cut: float  # share of the examples that are cut
    lost: float  # share that have no response token left


def sample(source: Source) -> Sample:
    """Return a sample of a source.

    Raises:
        UserError: the source cannot be read, or none of its rows can be used.
    """
    rows, height = sample_source(source, ROWS, default_cache())
    name = source.name
    examples, rejected = to_examples({name: rows}, {name: source.format}, {name: source.ignore}, {name: source.scores})
    return Sample(source, examples, rejected["reason"].to_list(), height)


def lengths(encoded: Sequence[Encoded], weights: Sequence[float], max_length: int) -> Lengths:
    """Return the lengths of examples that were encoded without a limit.

    Args:
        weights: how many examples of the pool each one stands for.
    """

    def mean(values: Sequence[float] | np.ndarray) -> float:
        return float(np.average(values, weights=weights))

    sizes = np.array([len(example.ids) for example in encoded])
    return Lengths(
        mean=mean(np.minimum(sizes, max_length)),
        response=mean([sum(example.response[:max_length]) for example in encoded]),
        longest=int(sizes.max()),
        cut=mean(sizes > max_length),
        lost=mean([not any(example.response[1:max_length]) for example in encoded]),
    )


def length_problems(role: str, found: Lengths, max_length: int, positions: int | None, all_seen: bool) -> list[str]:
    """Return what is wrong with the lengths: no response is left, or the model has no position for some tokens.

    Args:
        all_seen: the examples that were measured are all that there are; else others may be as long as is allowed.
    """
    problems = []
    if found.lost == 1:
        problems.append(
            f"data.max_length: {max_length} tokens of the {role} end before the response of every example that was "
            f"looked at; the longest example has {found.longest:,}"
        )
    reached = min(max_length, found.longest) if all_seen else max_length
    if positions is not None and reached > positions:
        problems.append(
            f"data.max_length: examples may have up to {reached:,} tokens, but {role}.model has only {positions:,} "
            f"positions; set it to {positions} or less, or use another {role}"
        )
    return problems
