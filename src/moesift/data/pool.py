"""From the rows of the sources to the pool and the held-out examples, with every row accounted for."""

import hashlib
import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from moesift.data.corruption import CLEAN
from moesift.data.formats import to_messages
from moesift.data.groups import linked_groups
from moesift.data.keys import Rejected
from moesift.data.rows import Row
from moesift.data.scores import brought, schema_of
from moesift.data.turns import Message, text_of
from moesift.errors import UserError

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String, "more": pl.String}))  # see `turns.Message`
PLAIN = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))  # where no turn has more
EXAMPLE = {
    "source": pl.String,
    "source_index": pl.Int64,
    "messages": MESSAGES,
    "choices": pl.List(pl.String),
    "corruption": pl.String,
    "severity": pl.Float64,
    "finished": pl.Boolean,
}
COLUMNS = ("id", *EXAMPLE)
Place = tuple[str, int, str, str]  # of a rejected row, as the columns of REJECTED
# The content is the beginning of the row as it was read, as JSON where it was JSON; of an example, of its messages.
REJECTED = {"source": pl.String, "row": pl.Int64, "reason": pl.String, "content": pl.String}

# Rows of a row group of the pool's file. A pass reads whole groups for each of its chunks, so groups of polars' own
# size, a quarter of a million, would be read hundreds of times.
ROW_GROUP = 4096
BLOCK = 4096  # rows that are Python objects at once: these take several times the memory of a frame
REASON_LENGTH = 500  # characters of a reason that are kept: it may quote the row
# Reasons.
DUPLICATE = pl.concat_str(pl.lit("duplicate of "), "id")
APART = "shares a question or an exchange with held-out examples, of which there are enough"
CONTENT_LENGTH = 2_000  # characters of a rejected row that are kept
PARTICULAR = r"\b(?:[0-9a-f]{16}|\d+)\b"  # ids and numbers, in which reasons of one kind differ


def to_examples(
    rows: Mapping[str, Iterable[Row]],
    formats: Mapping[str, str],
    ignored: Mapping[str, Sequence[str]] | None = None,
    scores: Mapping[str, Sequence[str]] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the examples (columns of EXAMPLE) and the rejected rows (columns of REJECTED), in the order of the rows.

    As `read_examples`, all at once; where every turn is plain, messages are plain too.
    """
    rejected: list[Place] = []
    examples = pl.concat(read_examples(rows, rejected, formats, ignored, scores))
    return examples.cast({"messages": messages_type(examples)}), as_rejected(rejected)


def read_examples(
    rows: Mapping[str, Iterable[Row]],
    rejected: list[Place],
    formats: Mapping[str, str],
    ignored: Mapping[str, Sequence[str]] | None = None,
    scores: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the examples block by block, at least one: columns of EXAMPLE and `brought` scores.

    Args:
        rows: of each source, read a block at a time.
        rejected: is given the rows that are no examples.
        formats: of each source.
        ignored: keys of each source that are not looked at.
        scores: keys of each source that hold scores, see `moesift.data.scores`.

    Raises:
        UserError: no row became an example.
    """
    schema = EXAMPLE | schema_of(scores or {})
    count = 0
    for source, of_source in rows.items():
        remaining, ignore = iter(of_source), (ignored or {}).get(source, ())
        names = (scores or {}).get(source, ())
        while block := list(itertools.islice(remaining, BLOCK)):
            accepted = []
            for row in block:
                try:
                    if row.reason is not None:
                        raise Rejected(row.reason)
                    own = brought(row.content, names)
                    content = {key: value for key, value in row.content.items() if key not in names}
                    messages = to_messages(content, formats[source], ignore)
                except Rejected as reason:
                    rejected.append((source, row.index, _printable(str(reason)), _as_text(row.content)))
                else:
                    example = (source, row.index, messages, list(row.choices), CLEAN, None, True)
                    accepted.append(dict(zip(EXAMPLE, example, strict=True)) | own)
            count += len(accepted)
            yield pl.DataFrame(accepted, schema=schema, orient="row")
    if not count:
        reasons = frequent_reasons([reason for _, _, reason, _ in rejected], 3)
        counts = [f"{count} x {reason}" for reason, count in reasons]
        raise UserError("\n  ".join([f"no row of {', '.join(rows)} can be used", *(counts or ["there are no rows"])]))


def messages_type(examples: pl.DataFrame) -> pl.DataType:
    """Return the type of messages that loses nothing: PLAIN, which any trainer takes, where every turn is plain."""
    more = pl.col("messages").list.eval(pl.element().struct.field("more").is_not_null().any()).list.first()
    return MESSAGES if examples.select(more.any()).item() else PLAIN


def as_rejected(places: Sequence[Place]) -> pl.DataFrame:
    """Return rejected rows as a table, columns of REJECTED."""
    return pl.DataFrame(places, schema=REJECTED, orient="row")


def concatenated(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return frames one below the other, of which some have plain messages, and others messages with more."""
    frames = list(frames)
    wide = {name for frame in frames for name, kind in frame.schema.items() if kind == MESSAGES}
    return pl.concat(
        frame.with_columns(pl.Series(name, frame[name].to_list(), MESSAGES) for name in wide) for frame in frames
    )


def content_id(messages: Sequence[Message]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the messages as canonical JSON, without nulls."""
    canonical = json.dumps(_without_nulls(messages), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def conversations(examples: pl.DataFrame) -> Iterator[list[Message]]:
    """Yield the messages of each example, of which few are Python objects at once."""
    for block in examples.select("messages").iter_slices(BLOCK):
        yield from block["messages"].to_list()


def deduplicated(examples: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the examples with their `id`, each content once, and the duplicates (columns of REJECTED).

    Of equal examples, a clean one is kept before a corrupted one, and then the first.
    """
    examples = with_ids(examples)
    clean_first = examples.select("id", corrupted=pl.col("corruption") != CLEAN).with_row_index("place")
    clean_first = clean_first.sort("corrupted", maintain_order=True)
    is_kept = clean_first.with_columns(kept=pl.col("id").is_first_distinct()).sort("place")["kept"]
    return examples.filter(is_kept), refused(examples.filter(~is_kept), DUPLICATE)


def with_ids(examples: pl.DataFrame) -> pl.DataFrame:
    """Return the examples with the `id` of each."""
    return examples.with_columns(pl.Series("id", map(content_id, conversations(examples)), dtype=pl.String))


def refused(examples: pl.DataFrame, reason: pl.Expr) -> pl.DataFrame:
    """Return examples as rejected rows, columns of REJECTED."""
    contents = [_as_text({"messages": _without_nulls(messages)}) for messages in conversations(examples)]
    return examples.select("source", row="source_index", reason=reason, content=pl.Series(contents, dtype=pl.String))


def split(examples: pl.DataFrame, heldout: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the pool, `heldout` examples sampled by the seed, and what is in neither (columns of REJECTED).

    As `held_out`.
    """
    held, left_over = held_out(linked_groups(conversations(examples)), heldout, seed)
    apart = refused(examples.filter(left_over), pl.lit(APART))
    return examples.filter(~held & ~left_over), examples.filter(held), apart


def held_out(groups: np.ndarray, heldout: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of N examples are held out, and which are in neither the pool nor the held-out part, (N,) bool.

    The held-out examples and the pool share no question and no exchange: groups are held out as a whole, the smallest
    first, so examples that are alone where there are enough. Of the last group, examples may be left over. A group of
    more than `heldout` examples stays in the pool.

    Args:
        groups: of `linked_groups`, (N,), numbered as they first appear.
        heldout: how many examples.
        seed: of the draw.

    Raises:
        UserError: there are too few such examples, or none would be left for the pool.
    """
    rng = random.Random(f"heldout-{seed}")
    sizes = np.bincount(groups)  # (G,)
    by_group, starts = np.argsort(groups, kind="stable"), np.cumsum(sizes) - sizes  # (N,), (G,)
    chosen: list[int] = []
    for size in np.unique(sizes[sizes <= heldout]):
        of_size = np.flatnonzero(sizes == size)
        missing = max(0, heldout - len(chosen))
        sampled = rng.sample(range(len(of_size)), min(len(of_size), math.ceil(missing / size)))
        chosen += [row for first in starts[of_size[sampled]] for row in by_group[first : first + size]]
    if len(chosen) < heldout or len(chosen) >= len(groups):
        smallest = sizes.min(initial=len(groups))
        together = f"; of several answers to a question all are held out: ask for {smallest} or more"
        raise UserError(
            f"heldout: {heldout} examples are asked for, but the pool has {len(groups)} in all, of which "
            f"{(sizes == 1).sum()} share no question and no exchange with another"
            + (together if heldout < smallest < len(groups) else "; ask for fewer or read more rows")
        )
    held, left_over = np.zeros((2, len(groups)), bool)
    held[chosen[:heldout]] = left_over[chosen[heldout:]] = True
    return held, left_over


def texts(pool: pl.DataFrame) -> list[str]:
    """Return the text of each example, all turns one after the other."""
    return ["\n".join(map(text_of, turns)) for turns in conversations(pool)]


def frequent_reasons(reasons: Sequence[str], most: int) -> list[tuple[str, int]]:
    """Return the most frequent kinds of reasons with their counts."""
    return Counter(re.sub(PARTICULAR, "…", reason) for reason in reasons).most_common(most)


def rejections(reasons: pl.Series) -> list[str]:
    """Return a line for each of the ten most frequent kinds of reasons, and one for all others."""
    frequent = frequent_reasons(reasons.to_list(), most=10)
    others = len(reasons) - sum(count for _, count in frequent)
    lines = [f"rejected {count} x {reason}" for reason, count in frequent]
    return [*lines, f"rejected {others} x other reasons"] if others else lines


def _without_nulls(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [{key: value for key, value in message.items() if value is not None} for message in messages]


def _printable(reason: str) -> str:
    """Return a reason without control characters and half surrogate pairs, as a log and a table can hold it."""
    escaped = (character if character.isprintable() else ascii(character)[1:-1] for character in reason[:REASON_LENGTH])
    return "".join(escaped) + ("…" if len(reason) > REASON_LENGTH else "")


def _as_text(content: Any) -> str:
    try:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    except RecursionError:  # deep enough to be read, too deep to be written
        text = "(nested too deeply to be shown)"
    return text[:CONTENT_LENGTH].encode(errors="replace").decode()
