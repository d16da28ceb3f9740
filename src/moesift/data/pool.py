"""From the rows of the sources to the pool and the held-out examples, with every row accounted for."""

import hashlib
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from moesift.data.corruption import CLEAN
from moesift.data.formats import Message, Rejected, to_messages
from moesift.data.rows import Row
from moesift.errors import UserError

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
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
REJECTED = {"source": pl.String, "row": pl.Int64, "reason": pl.String}

# Rows of a row group of the pool's file. A pass reads whole groups for each of its chunks, so groups of polars' own
# size, a quarter of a million, would be read hundreds of times.
ROW_GROUP = 4096
BLOCK = 4096  # rows that are Python objects at once: these take several times the memory of a frame
WHOLE, INSTRUCTION = slice(None), slice(-1)  # turns of an example
REASON_LENGTH = 500  # characters of a reason that are kept: it may quote the row
CONTENT_LENGTH = 2_000  # characters of a rejected row that are kept
PARTICULAR = r"\b(?:[0-9a-f]{16}|\d+)\b"  # ids and numbers, in which reasons of one kind differ


def to_examples(rows: Mapping[str, Iterable[Row]], formats: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the examples (columns of EXAMPLE) and the rejected rows (columns of REJECTED), in the order of the rows.

    Args:
        rows: of each source, read a block at a time.
        formats: of each source.

    Raises:
        UserError: no row became an example.
    """
    blocks, rejected = [pl.DataFrame(schema=EXAMPLE)], []
    for source, of_source in rows.items():
        remaining = iter(of_source)
        while block := list(itertools.islice(remaining, BLOCK)):
            accepted = []
            for row in block:
                try:
                    if row.reason is not None:
                        raise Rejected(row.reason)
                    messages = to_messages(row.content, formats[source])
                except Rejected as reason:
                    rejected.append((source, row.index, _printable(str(reason))))
                else:
                    accepted.append((source, row.index, messages, list(row.choices), CLEAN, None, True))
            blocks.append(pl.DataFrame(accepted, schema=EXAMPLE, orient="row"))
    examples = pl.concat(blocks)
    if examples.is_empty():
        counts = [f"{count} x {reason}" for reason, count in frequent_reasons([reason for *_, reason in rejected], 3)]
        raise UserError("\n  ".join([f"no row of {', '.join(rows)} can be used", *(counts or ["there are no rows"])]))
    return examples, pl.DataFrame(rejected, schema=REJECTED, orient="row")


def content_id(messages: Sequence[Message]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the messages as canonical JSON."""
    canonical = json.dumps(messages, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def content_ids(examples: pl.DataFrame, turns: slice = WHOLE) -> pl.Series:
    """Return the content id of each example, or of some of its turns."""
    blocks = (block["messages"].to_list() for block in examples.select("messages").iter_slices(BLOCK))
    ids = [pl.Series([content_id(messages[turns]) for messages in block], dtype=pl.String) for block in blocks]
    return pl.concat([pl.Series("id", dtype=pl.String), *ids])


def deduplicated(examples: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the examples with their `id`, each content once, and the duplicates (columns of REJECTED).

    Of equal examples, a clean one is kept before a corrupted one, and then the first.
    """
    examples = examples.with_columns(content_ids(examples))
    clean_first = examples.select("id", corrupted=pl.col("corruption") != CLEAN).with_row_index("place")
    clean_first = clean_first.sort("corrupted", maintain_order=True)
    is_kept = clean_first.with_columns(kept=pl.col("id").is_first_distinct()).sort("place")["kept"]
    duplicates = examples.filter(~is_kept)
    reasons = pl.concat_str(pl.lit("duplicate of "), "id")
    return examples.filter(is_kept), duplicates.select("source", row="source_index", reason=reasons)


def split(examples: pl.DataFrame, heldout: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the pool, and `heldout` examples sampled by the seed whose instructions do not occur in the pool.

    An instruction is all messages before the response. Only examples that share theirs with no other are sampled, so
    that no example has to be thrown away.

    Raises:
        UserError: there are too few such examples, or none would be left for the pool.
    """
    unshared = content_ids(examples, INSTRUCTION).is_unique().arg_true()
    if heldout > len(unshared) or heldout >= len(examples):
        raise UserError(
            f"heldout: {heldout} examples are asked for, but the pool has {len(examples)} in all, of which "
            f"{len(unshared)} share their instruction with no other; ask for fewer or read more rows"
        )
    sampled = unshared.gather(random.Random(f"heldout-{seed}").sample(range(len(unshared)), heldout))
    is_heldout = pl.int_range(pl.len()).is_in(sampled.implode())
    return examples.filter(~is_heldout), examples.filter(is_heldout)


def texts(pool: pl.DataFrame) -> list[str]:
    """Return the text of each example, all turns one after the other."""
    return ["\n".join(turn["content"] for turn in turns) for turns in pool["messages"].to_list()]


def with_content(rejected: pl.DataFrame, rows: Mapping[str, Iterable[Row]]) -> pl.DataFrame:
    """Return the rejected rows with `content`, the beginning of the row as it was read, as JSON where it was JSON.

    Args:
        rejected: columns of REJECTED.
        rows: of each source, read a second time.

    Raises:
        UserError: a row is missing.
    """
    places = list(rejected.select("source", "row").iter_rows())
    contents = {
        (source, row.index): _as_text(row.content)
        for (source,), of_source in rejected.group_by("source")
        for wanted in [set(of_source["row"])]
        for row in rows[source]
        if row.index in wanted
    }
    if missing := [f"{source}, row {row}" for source, row in places if (source, row) not in contents]:
        raise UserError(f"{missing[0]} is missing when it is read a second time: did the source change meanwhile?")
    return rejected.with_columns(pl.Series("content", [contents[place] for place in places], dtype=pl.String))


def frequent_reasons(reasons: Sequence[str], most: int) -> list[tuple[str, int]]:
    """Return the most frequent kinds of reasons with their counts."""
    return Counter(re.sub(PARTICULAR, "…", reason) for reason in reasons).most_common(most)


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
