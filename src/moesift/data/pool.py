"""From the rows of the sources to pool and held-out examples, with every row accounted for."""

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
REJECTED = {"source": pl.String, "row": pl.Int64, "reason": pl.String}

COLUMNS = ("id", *EXAMPLE)
# Rows of a row group of the pool's file. Who measures a chunk of them reads the whole group, so that groups of polars'
# own size, a quarter million, would be read hundreds of times.
ROW_GROUP = 4096
BLOCK = 4096  # rows that are Python objects at once
WHOLE, INSTRUCTION = slice(None), slice(-1)  # turns of an example
REASON_LENGTH = 500  # characters of a reason that are kept: it may quote the row
PARTICULAR = r"\b(?:[0-9a-f]{16}|\d+)\b"  # ids and numbers, which do not tell kinds of reasons apart
CONTENT_LENGTH = 2_000  # characters of a rejected row that are kept


def to_examples(rows: Mapping[str, Iterable[Row]], formats: Mapping[str, str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the examples (columns of EXAMPLE) and the rejected rows (columns of REJECTED), in the order of the rows.

    Rows are read a block at a time: as Python objects they take several times the memory of the frame.

    Both arguments go by the name of the source.

    Raises:
        UserError: no row became an example.
    """
    examples, rejected = [pl.DataFrame(schema=EXAMPLE)], []
    for source, given in rows.items():
        coming = iter(given)
        while block := list(itertools.islice(coming, BLOCK)):
            usable = []
            for row in block:
                try:
                    if row.reason is not None:
                        raise Rejected(row.reason)
                    messages = to_messages(row.content, formats[source])
                except Rejected as reason:
                    rejected.append((source, row.index, _printable(str(reason))))
                else:
                    usable.append((source, row.index, messages, list(row.choices), CLEAN, None, True))
            examples.append(pl.DataFrame(usable, schema=EXAMPLE, orient="row"))
    found = pl.concat(examples)
    if found.is_empty():
        counts = [f"{count} x {reason}" for reason, count in frequent_reasons([reason for *_, reason in rejected], 3)]
        raise UserError("\n  ".join([f"no row of {', '.join(rows)} can be used", *(counts or ["there are no rows"])]))
    return found, pl.DataFrame(rejected, schema=REJECTED, orient="row")


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
    """Return the examples with their `id`, each content once, and the rejected rest (columns of REJECTED).

    Of equal examples a clean one is kept before a corrupted one, and then the first.
    """
    ids = content_ids(examples)
    ranked = examples.select(corrupted=pl.col("corruption") != CLEAN).with_columns(ids).with_row_index("place")
    kept = (
        ranked.sort("corrupted", maintain_order=True)
        .with_columns(kept=pl.col("id").is_first_distinct())
        .sort("place")["kept"]
    )
    examples = examples.with_columns(ids)
    repeated = examples.filter(~kept).select(
        "source", row="source_index", reason=pl.concat_str(pl.lit("duplicate of "), "id")
    )
    return examples.filter(kept), repeated


def split(examples: pl.DataFrame, heldout: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the pool and `heldout` examples drawn by the seed, whose instructions do not occur in the pool.

    An instruction is all messages before the response. Only examples that share theirs with no other are drawn, so that
    no example has to be thrown away.

    Raises:
        UserError: there are too few such examples, or none would be left for the pool.
    """
    unshared = content_ids(examples, INSTRUCTION).is_unique().arg_true()
    if heldout > len(unshared) or heldout >= len(examples):
        raise UserError(
            f"heldout: {heldout} examples are asked for, but the pool has {len(examples)} in all, of which "
            f"{len(unshared)} share their instruction with no other; ask for fewer or read more rows"
        )
    drawn = unshared.gather(random.Random(f"heldout-{seed}").sample(range(len(unshared)), heldout))
    is_drawn = pl.int_range(pl.len()).is_in(drawn.implode())
    return examples.filter(~is_drawn), examples.filter(is_drawn)


def texts(pool: pl.DataFrame) -> list[str]:
    """Return what is said in each example, all turns one after the other."""
    return ["\n".join(turn["content"] for turn in turns) for turns in pool["messages"].to_list()]


def warmup_examples(pool: pl.DataFrame, count: int | None, seed: int) -> pl.DataFrame:
    """Return the `count` rows of the pool that the warm-up of a seed trains on; the same ones in every epoch."""
    return pool if count is None or count >= pool.height else pool.sample(count, seed=seed)


def with_content(rejected: pl.DataFrame, rows: Mapping[str, Iterable[Row]]) -> pl.DataFrame:
    """Return the rejected rows with `content`, the beginning of the row as it was read, as JSON where it was JSON.

    Args:
        rejected: columns of REJECTED.
        rows: of each source, read once more.

    Raises:
        UserError: a row is not there.
    """
    wanted = {source: set(own["row"]) for (source,), own in rejected.group_by("source")}
    read = {
        (source, row.index): _as_text(row.content)
        for source, own in wanted.items()
        for row in rows[source]
        if row.index in own
    }
    places = list(rejected.select("source", "row").iter_rows())
    if gone := [f"{source}, row {row}" for source, row in places if (source, row) not in read]:
        raise UserError(f"{gone[0]} is not there when it is read a second time: did the source change meanwhile?")
    content = [read[place] for place in places]
    return rejected.with_columns(pl.Series("content", content, dtype=pl.String))


def frequent_reasons(reasons: Sequence[str], most: int) -> list[tuple[str, int]]:
    """Return the most frequent kinds of reasons with their counts."""
    return Counter(re.sub(PARTICULAR, "…", reason) for reason in reasons).most_common(most)


def _printable(reason: str) -> str:
    """Return a reason as a log can show it and a table keep it: no control characters, no half surrogate pairs."""
    shown = (character if character.isprintable() else ascii(character)[1:-1] for character in reason[:REASON_LENGTH])
    return "".join(shown) + ("…" if len(reason) > REASON_LENGTH else "")


def _as_text(content: Any) -> str:
    try:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    except RecursionError:  # what was just shallow enough to be read
        text = "(nested too deeply to be shown)"
    return text[:CONTENT_LENGTH].encode(errors="replace").decode()
