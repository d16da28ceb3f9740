"""A turn of a conversation: its text and, where there is something, what else its template is handed, as JSON text."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

# `role`, `content` and, unless the turn is plain, `more`: a JSON object with any of `tools` (of the first turn: those
# that the conversation offers), `reasoning_content`, `tool_calls`, `tool_call_id`, `name`, and `train`, which is false
# for a response that is context only. All are as transformers' `apply_chat_template` takes them.
Message = dict[str, str]

DEEPEST = 64  # objects and lists in each other
ABOUT = ("tools", "train")  # of `more`: not handed to the template with the turn


def with_more(message: Message, more: Mapping[str, Any]) -> Message:
    """Return a turn with more beside its text, the same turn where there is nothing.

    Raises:
        ValueError: it cannot be written as JSON in UTF-8, or is so deep that templates would fail on it.
    """
    if not more:
        return message
    if _is_deep(more):
        raise ValueError(f"is nested more than {DEEPEST} deep")
    try:
        text = json.dumps(more_of(message) | dict(more), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error
    return message | {"more": text}


def more_of(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a turn has beside its text."""
    more = message.get("more")
    return json.loads(more) if more else {}


def is_trained(message: Mapping[str, Any]) -> bool:
    """Return whether a turn is a response to be learned."""
    return message["role"] == "assistant" and more_of(message).get("train", True)


def handed(messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Return the turns as a chat template takes them, and the tools that the conversation offers, None without."""
    more = [more_of(message) for message in messages]
    turns = [
        {"role": message["role"], "content": message["content"]}
        | {key: value for key, value in beside.items() if key not in ABOUT}
        for message, beside in zip(messages, more, strict=True)
    ]
    return turns, more[0].get("tools") if more else None


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text by which turns are compared: all that was written in it, calls included.

    Not the tools that are offered: many conversations have the same, as they have the same system message.
    """
    beside = {key: value for key, value in more_of(message).items() if key not in ABOUT}
    return "\n".join([message["content"], *_texts(beside)])


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts and numbers in a value, in their order."""
    if isinstance(value, Mapping | list):
        for part in _parts(value):
            yield from _texts(part)
    elif value is not None:
        yield str(value)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [part for whole in level if isinstance(whole, Mapping | list) for part in _parts(whole)]
    return bool(level)


def _parts(whole: Mapping[str, Any] | list[Any]) -> Iterable[Any]:
    return whole.values() if isinstance(whole, Mapping) else whole
