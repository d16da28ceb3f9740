"""Instruction formats -> one schema: a list of `{"role", "content"}` messages that ends with the response."""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

Message = dict[str, str]
Row = Mapping[str, Any]

ROLES = {role: role for role in ("system", "user", "assistant")}
SHAREGPT_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}

# The keys of each format, the most specific format first: a row with messages may also have a prompt.
KEYS = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
}

# What a response may refer to that its text does not show.
NOT_TEXT = ("image", "images", "audio", "audios", "video", "videos", "tool_calls", "function_call")
# What alpaca and sharegpt rows may have beside their turns: without it, a response answers something else.
CONTEXT = ("system", "history")
# Unicode categories of characters that are not visible.
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}

TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
}


class Rejected(ValueError):
    """A row cannot become an example; the message is the reason."""


def to_messages(row: Row, format: str) -> list[Message]:
    """Return the messages of a row: a system message at most at the start, a user turn, the response last.

    Contents are kept exactly, except that a blank system message is dropped. `format` is a value of
    `config.Source.format`; `auto` goes by the keys of the row, and where several formats fit, by those that are not
    null.

    Raises:
        Rejected: the row does not have the format, has no response to learn, or refers to more than text.
    """
    _refuse_other_media(row, "the row")
    return _checked(_READERS[_detected(row) if format == "auto" else format](row))


def _detected(row: Row) -> str:
    fitting = [format for format, keys in KEYS.items() if all(key in row for key in keys)]
    if not fitting:
        known = "; ".join(f"{' and '.join(keys)} ({format})" for format, keys in KEYS.items())
        raise Rejected(f"fits no format, known are {known}; its keys are {', '.join(row) or 'none'}")
    # A table with rows of several formats has every key in every row; the unused ones are null.
    complete = [format for format in fitting if all(row[key] is not None for key in KEYS[format])]
    return (complete or fitting)[0]


def _from_messages(row: Row) -> list[Message]:
    return _turns(_value(row, "messages"), "messages")


def _from_sharegpt(row: Row) -> list[Message]:
    turns = _value(row, "conversations")
    _refuse_context(row)
    return _turns(turns, "conversations", "from", "value", SHAREGPT_ROLES)


def _from_alpaca(row: Row) -> list[Message]:
    instruction, output = _text(_value(row, "instruction"), "instruction"), _text(_value(row, "output"), "output")
    _refuse_context(row)
    # Data sets without inputs leave the key out or null.
    given = "" if row.get("input") is None else _text(row["input"], "input")
    return _exchange(instruction if _is_blank(given) else f"{instruction}\n\n{given}", output)


def _from_prompt_completion(row: Row) -> list[Message]:
    prompt, completion = _value(row, "prompt"), _value(row, "completion")
    if isinstance(prompt, list) or isinstance(completion, list):
        return _turns(prompt, "prompt") + _turns(completion, "completion")
    return _exchange(_text(prompt, "prompt"), _text(completion, "completion"))


_READERS: dict[str, Callable[[Row], list[Message]]] = {
    "messages": _from_messages,
    "less": _from_messages,
    "sharegpt": _from_sharegpt,
    "alpaca": _from_alpaca,
    "prompt_completion": _from_prompt_completion,
}


def _exchange(instruction: str, response: str) -> list[Message]:
    return [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]


def _turns(
    turns: Any, key: str, role_key: str = "role", content_key: str = "content", roles: Mapping[str, str] = ROLES
) -> list[Message]:
    if not isinstance(turns, list):
        raise Rejected(f"{key} is {_type_name(turns)}, not a list")
    messages = []
    for number, turn in enumerate(turns):
        place = f"{key}[{number}]"
        if not isinstance(turn, Mapping):
            raise Rejected(f"{place} is {_type_name(turn)}, not an object")
        role = _text(_value(turn, role_key, place), f"{place}.{role_key}")
        if role not in roles:
            raise Rejected(f"{place}.{role_key} is {role!r}, not one of {', '.join(roles)}")
        _refuse_other_media(turn, place)
        content = _text(_value(turn, content_key, place), f"{place}.{content_key}")
        messages.append({"role": roles[role], "content": content})
    return messages


def _refuse_other_media(mapping: Row, place: str) -> None:
    for key in NOT_TEXT:
        if mapping.get(key):  # Arrow tables have every key in every message; the unused ones are null
            raise Rejected(f"{place} has {key}, which is not text")


def _refuse_context(row: Row) -> None:
    for key in CONTEXT:
        if row.get(key):
            raise Rejected(f"the row has {key}, which would be lost; write it as messages")


def _value(row: Row, key: str, place: str = "the row") -> Any:
    if key not in row:
        raise Rejected(f"{place} has no {key}, only {', '.join(row) or 'nothing'}")
    return row[key]


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise Rejected(f"{place} is {_type_name(value)}, not a string")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can escape half of a surrogate pair
        raise Rejected(f"{place} cannot be written as UTF-8") from None
    return value


def _type_name(value: Any) -> str:
    return TYPE_NAMES.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")


def _is_blank(text: str) -> bool:
    """Return whether nothing of a text is visible; `str.strip` leaves zero-width and control characters."""
    return all(unicodedata.category(character) in INVISIBLE for character in text)


def _checked(messages: list[Message]) -> list[Message]:
    messages = [message for message in messages if message["role"] != "system" or not _is_blank(message["content"])]
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
        if _is_blank(message["content"]):
            raise Rejected(f"a turn of {message['role']} is blank")
    return messages
