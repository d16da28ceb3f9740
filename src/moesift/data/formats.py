"""Instruction formats -> one schema: a list of `{"role", "content"}` messages that ends with the response."""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

Message = dict[str, str]

ROLES = ("system", "user", "assistant")
SPEAKERS = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}

# Keys that tell a row's format, the most specific format first: a row with messages may well carry a prompt, too.
TELLING_KEYS = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
}

# What a response may be about and text alone does not show.
NOT_TEXT = ("image", "images", "audio", "audios", "video", "videos", "tool_calls", "function_call")
# What these formats may carry beside their turns: without it a response answers something else.
CONTEXT = ("system", "history")
# Unicode's categories of what leaves no mark on paper.
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}


class Rejected(ValueError):
    """A row cannot become an example; the message is the reason."""


def to_messages(row: Mapping[str, Any], format: str) -> list[Message]:
    """Return the messages of a row: a system message at most first, a user turn somewhere, the response last.

    Contents are kept to the letter, except that a blank system message counts as none. `format` is a value of
    `config.Source.format`; `auto` goes by the row's keys, and by those that are not null where several formats fit.

    Raises:
        Rejected: the row does not have the format, is nothing to learn a response from, or is about more than text.
    """
    _text_alone(row, "the row")
    return _checked(_READERS[_told_by_keys(row) if format == "auto" else format](row))


def _told_by_keys(row: Mapping[str, Any]) -> str:
    fitting = [format for format, keys in TELLING_KEYS.items() if all(key in row for key in keys)]
    # A table of several formats gives every row every key, so those that it does not use are there and null.
    for format in fitting:
        if all(row[key] is not None for key in TELLING_KEYS[format]):
            return format
    if fitting:
        return fitting[0]
    known = "; ".join(f"{' and '.join(keys)} ({format})" for format, keys in TELLING_KEYS.items())
    raise Rejected(f"fits no format, known are {known}; its keys are {', '.join(row) or 'none'}")


def _from_messages(row: Mapping[str, Any]) -> list[Message]:
    return _turns(_value(row, "messages"), "messages")


def _from_sharegpt(row: Mapping[str, Any]) -> list[Message]:
    turns = _value(row, "conversations")
    _no_context(row)
    return [_message(turn, place, "from", "value", SPEAKERS) for place, turn in _numbered(turns, "conversations")]


def _from_alpaca(row: Mapping[str, Any]) -> list[Message]:
    instruction, output = _text(_value(row, "instruction"), "instruction"), _text(_value(row, "output"), "output")
    _no_context(row)
    # Collections without inputs leave the key out or null.
    given = "" if row.get("input") is None else _text(row["input"], "input")
    return _exchange(f"{instruction}\n\n{given}" if not _blank(given) else instruction, output)


def _from_prompt_completion(row: Mapping[str, Any]) -> list[Message]:
    prompt, completion = _value(row, "prompt"), _value(row, "completion")
    if isinstance(prompt, list) or isinstance(completion, list):
        return _turns(prompt, "prompt") + _turns(completion, "completion")
    return _exchange(_text(prompt, "prompt"), _text(completion, "completion"))


_READERS: dict[str, Callable[[Mapping[str, Any]], list[Message]]] = {
    "messages": _from_messages,
    "less": _from_messages,
    "sharegpt": _from_sharegpt,
    "alpaca": _from_alpaca,
    "prompt_completion": _from_prompt_completion,
}


def _exchange(instruction: str, response: str) -> list[Message]:
    return [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]


def _turns(turns: Any, key: str) -> list[Message]:
    roles = {role: role for role in ROLES}
    return [_message(turn, place, "role", "content", roles) for place, turn in _numbered(turns, key)]


def _numbered(turns: Any, key: str) -> list[tuple[str, Any]]:
    if not isinstance(turns, list):
        raise Rejected(f"{key} is {_kind(turns)}, not a list")
    return [(f"{key}[{number}]", turn) for number, turn in enumerate(turns)]


def _message(turn: Any, place: str, role_key: str, content_key: str, roles: Mapping[str, str]) -> Message:
    if not isinstance(turn, Mapping):
        raise Rejected(f"{place} is {_kind(turn)}, not an object")
    role = _text(_value(turn, role_key, place), f"{place}.{role_key}")
    if role not in roles:
        raise Rejected(f"{place}.{role_key} is {role!r}, not one of {', '.join(roles)}")
    _text_alone(turn, place)
    return {"role": roles[role], "content": _text(_value(turn, content_key, place), f"{place}.{content_key}")}


def _text_alone(given: Mapping[str, Any], place: str) -> None:
    for key in NOT_TEXT:
        # Arrow tables give every message every key, so an unused one is there and null.
        if given.get(key):
            raise Rejected(f"{place} has {key}, which is not text")


def _no_context(row: Mapping[str, Any]) -> None:
    for key in CONTEXT:
        if row.get(key):
            raise Rejected(f"the row has {key}, which would be lost; write it as messages")


def _value(row: Mapping[str, Any], key: str, place: str = "the row") -> Any:
    if key not in row:
        raise Rejected(f"{place} has no {key}, only {', '.join(row) or 'nothing'}")
    return row[key]


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise Rejected(f"{place} is {_kind(value)}, not a string")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can escape half of a surrogate pair
        raise Rejected(f"{place} cannot be written as UTF-8") from None
    return value


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")


def _blank(text: str) -> bool:
    """Say whether there is nothing to see: `str.strip` leaves zero-width and control characters."""
    return all(unicodedata.category(character) in INVISIBLE for character in text)


def _checked(messages: list[Message]) -> list[Message]:
    messages = [message for message in messages if message["role"] != "system" or not _blank(message["content"])]
    roles = [message["role"] for message in messages]
    for role in ("user", "assistant"):
        if role not in roles:
            raise Rejected(f"there is no {role} turn")
    if roles[-1] != "assistant":
        raise Rejected(f"the last turn is {roles[-1]}, not assistant: there is no response to learn")
    if next(role for role in roles if role != "system") == "assistant":
        raise Rejected("the first turn is assistant: it answers nothing")
    if "system" in roles[1:]:
        raise Rejected("a system message comes after the first message")
    for message in messages:
        if _blank(message["content"]):
            raise Rejected(f"a turn of {message['role']} is blank")
    return messages
