"""Which keys beside the text that is read are harmless, and which reject the row. docs/rows.md has the table."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from functools import lru_cache
from numbers import Number
from typing import Any, NamedTuple

# Names are compared as words, so that avatarUrl, avatar-url and avatar_url are one name.
WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")

# The last word, in the singular, of names of what a response does not depend on.
HARMLESS = {
    # Where a row is from, and when.
    "id", "idx", "index", "uuid", "uid", "hash", "md5", "sha256", "identifier", "number", "ip", "source", "origin",
    "provenance", "url", "uri", "link", "dataset", "subset", "split", "config", "repo", "license", "licence",
    "copyright", "author", "annotator", "by", "version", "revision", "model", "generator", "engine", "meta", "metadata",
    "header", "country", "date", "time", "datetime", "timestamp", "at", "created", "updated", "year",
    # What kind it is of, and how good it is.
    "category", "categorie", "subcategory", "class", "type", "kind", "task", "topic", "subject", "domain", "tag",
    "label", "genre", "skill", "ability", "cluster", "taxonomy", "intent", "difficulty", "level", "lang", "language",
    "langdetect", "locale", "score", "rating", "reward", "rank", "quality", "moderation", "truth",
}  # fmt: skip
# Any of these words: what a response may refer to that its text does not show.
NOT_TEXT = {"image", "images", "audio", "audios", "video", "videos", "tool", "tools", "function", "functions"}
# The last word of names of what a chat template is to be told: no row is written with settings of its own.
SETTINGS = {"kwargs", "thinking"}
# Any of these words: how much a turn counts, 1 or true where it is trained on.
WEIGHTS = {"weight", "weights", "loss", "train", "trained", "training", "trainable", "supervised", "importance"}
# Any of these words, unless beside one of WEIGHTS: 1 means trained on to some tools, and left out to others.
MASKS = {"mask", "masks", "masked", "labels"}
# Beside one of WEIGHTS: 1 means left out.
NEGATIONS = {"no", "not", "without", "ignore", "skip", "exclude", "disable"}
# The last word of names of judgements on a response, and what such a name may say of a bad one.
GOOD = {
    "label", "correct", "good", "valid", "accepted", "chosen", "preferred", "passed", "approved", "desirable",
    "helpful", "success", "successful", "solved", "resolved", "keep", "finished", "complete", "tag",
}  # fmt: skip
BAD = {
    "bad", "wrong", "incorrect", "invalid", "rejected", "undesirable", "failed", "error", "truncated", "deleted",
    "skip", "ignore", "ignored", "exclude", "excluded",
}  # fmt: skip
CLASSES = {"label", "tag"}  # a number of these may be that of a class; true and false are none
IN_WORDS = {"quality", "rating", "feedback", "verdict"}  # a number of these is of an unknown scale
BAD_WORDS = {"bad", "poor", "low", "wrong", "incorrect", "invalid", "rejected", "undesirable", "failed", "false"}
# The last word of names under which some sets keep the whole conversation a second time, as a template wrote it.
RENDERED = {"text", "prompt"}

# Unicode categories of characters that are not visible.
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}
NOTHING = {"[]", "{}", "null", "None"}  # as text
PLAIN = (Number, date, time, timedelta)  # a number, a boolean or a time has no text
SHOWN = 40  # characters of a value that a reason quotes


class Rejected(ValueError):
    """A row cannot become an example; the message is the reason."""


class Unread(NamedTuple):
    """What stands beside the text of a row, of a turn or of a part of a turn.

    `is_trained` says whether the text is trained on: that of a row and of a turn of the assistant.
    """

    place: str
    values: Mapping[str, Any]
    is_trained: bool


def refuse_lost(unread: Iterable[Unread], texts: Sequence[str]) -> None:
    """Refuse a row whose meaning or weight its text alone does not carry.

    What is empty is harmless, and so is what stands in a turn as well.

    Args:
        unread: the keys that were not read.
        texts: of all turns.

    Raises:
        Rejected: keys would be lost, a weight would have no effect, or a label says that the response is bad.
    """
    for place, values, is_trained in unread:
        lost = []
        for key, value in values.items():
            if is_empty(value):
                continue
            words = _words(key)
            if _is_bad(words[-1], value) and value not in texts:  # a response may be such a word
                raise Rejected(f"{place} has {key}: {_shown(value)}, which says that the response is bad")
            if _is_weight(words):
                if value != is_trained:
                    counts = "trained on" if is_trained else "not trained on"
                    raise Rejected(f"{place} has {key}: {_shown(value)}, which would have no effect: it is {counts}")
            elif (
                (MASKS | WEIGHTS).intersection(words)
                or (value and NOT_TEXT.intersection(words))
                or _is_lost(words, value, texts)
            ):
                lost.append(key)
        if lost:
            raise Rejected(
                f"{place} has {', '.join(lost)}, which would be lost; write it into the turns, or name it in `ignore`"
            )


def is_context(values: Mapping[str, Any]) -> bool:
    """Return whether a weight beside the text of a response, such as `train`, says that it is not trained on."""
    return any(isinstance(value, Number) and not value and _is_weight(_words(key)) for key, value in values.items())


def is_blank(text: str) -> bool:
    """Return whether nothing of a text is visible; `str.strip` leaves zero-width and control characters."""
    return all(unicodedata.category(character) in INVISIBLE for character in text)


def is_empty(value: Any) -> bool:
    """Return whether there is nothing in a value: null, blank text, or a list or an object of nothing but these."""
    return all(isinstance(leaf, str) and (is_blank(leaf) or leaf.strip() in NOTHING) for leaf in _leaves(value))


@lru_cache(1024)  # a table has few names, a file of odd rows may have any number
def _words(key: str) -> tuple[str, ...]:
    """Return the words of a name, at least one, without the last of model_name, dataset_name and their like."""
    words = tuple(word.lower() for word in WORD.findall(key)) or (key,)
    return words[:-1] if words[-1] == "name" and len(words) > 1 else words


def _is_weight(words: Sequence[str]) -> bool:
    return bool(WEIGHTS.intersection(words)) and not NEGATIONS.intersection(words)


def _is_lost(words: Sequence[str], value: Any, texts: Sequence[str]) -> bool:
    if words[-1] in HARMLESS or words[-1].removesuffix("s") in HARMLESS:
        return False
    if words[-1] in RENDERED and _renders(value, texts):
        return False
    harmless = () if words[-1] in SETTINGS else PLAIN
    return not all(isinstance(leaf, harmless) or _is_within(leaf, texts) for leaf in _leaves(value))


def _leaves(value: Any) -> Iterable[Any]:
    """Yield what a value consists of, at any depth, without nulls and roles."""
    remaining = [value]  # no recursion: a row may be nested as deep as the interpreter's stack
    while remaining:
        leaf = remaining.pop()
        if isinstance(leaf, Mapping):
            remaining += (part for key, part in leaf.items() if key not in ("role", "from"))
        elif isinstance(leaf, list | tuple):
            remaining += leaf
        elif leaf is not None:
            yield leaf


def _is_within(leaf: Any, texts: Sequence[str]) -> bool:
    return isinstance(leaf, str) and any(_stands_in(leaf.strip(), text) for text in texts)


def _stands_in(part: str, text: str) -> bool:
    """Return whether a text has a part, not as letters of a word: "no" is not in "know", and 金 is in 黄金."""
    start = text.find(part)
    while start >= 0:
        end = start + len(part)
        ends = (text[start - 1 : start] + part[:1], part[-1:] + text[end : end + 1])
        if not any(len(pair) == 2 and pair.isascii() and pair.isalnum() for pair in ends):
            return True
        start = text.find(part, start + 1)
    return False


def _renders(value: Any, texts: Sequence[str]) -> bool:
    """Return whether a text has all lines of all turns in their order."""
    place = 0
    for line in (line for text in texts for line in text.split("\n")):
        found = value.find(line, place) if isinstance(value, str) else -1
        if found < 0:
            return False
        place = found + len(line)
    return True


def _is_bad(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return name in GOOD | IN_WORDS and value.strip().lower() in BAD_WORDS
    if name in CLASSES and not isinstance(value, bool):
        return False
    return isinstance(value, int | float) and ((name in GOOD and value <= 0) or (name in BAD and value > 0))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
