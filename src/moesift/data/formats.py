"""Instruction formats -> one schema: a list of `{"role", "content"}` messages that ends with the response."""

from collections.abc import Collection, Mapping
from typing import Any

from moesift.data.keys import Rejected, Unread, is_blank, is_empty, refuse_lost

Message = dict[str, str]
Row = Mapping[str, Any]

# The names of the roles, in any case.
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
}

# The layouts of rows with their formats, the most specific first: a row with messages may also have a prompt. One key
# holds turns; of two, the first is the instruction and the second the response.
LAYOUTS = (
    ("messages", ("messages",)),
    ("sharegpt", ("conversations",)),
    ("sharegpt", ("conversation",)),
    ("prompt_completion", ("prompt", "completion")),
    ("alpaca", ("instruction", "output")),
    ("alpaca", ("instruction", "response")),
    ("prompt_completion", ("question", "response")),
)
SYSTEM = ("system", "system_prompt", "system_message")  # beside the turns, of any format
INPUTS = ("input", "context")  # of the format alpaca: follows the instruction

TYPE_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
}


def to_messages(row: Row, format: str, ignore: Collection[str] = ()) -> list[Message]:
    """Return the messages of a row: a system message at most at the start, a user turn, the response last.

    Contents are kept exactly, except that a blank system message is dropped.

    Args:
        row: from a file or a table.
        format: a value of `config.Source.format`; `auto` goes by the keys of the row, and where several layouts fit, by
            those that are not null.
        ignore: keys of rows, turns and parts of turns that are not looked at.

    Raises:
        Rejected: the row does not have the format, has no response to learn, or has something beside its turns that
            would be lost.
    """
    row = _without(row, ignore)
    keys = _layout(row, format)
    read, unread = set(keys), list[Unread]()
    if len(keys) == 1 or ("prompt" in keys and any(isinstance(row[key], list) for key in keys)):
        messages = [message for key in keys for message in _turns(row[key], key, ignore, unread)]
    else:
        instruction, response = (_text(row[key], key) for key in keys)
        given = [key for key in INPUTS if "instruction" in keys and not _is_unset(row.get(key))][:1]
        read.update(given)
        instruction = "\n\n".join([instruction, *(_text(row[key], key) for key in given)])
        messages = [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]
    messages = [message for message in messages if message["role"] != "system" or not is_blank(message["content"])]
    if all(message["role"] != "system" for message in messages):
        beside = [key for key in SYSTEM if not is_empty(row.get(key))][:1]
        read.update(beside)
        messages = [{"role": "system", "content": _text(row[key], key)} for key in beside] + messages
    unread.append(Unread("the row", _without(row, read), is_trained=True))
    refuse_lost(unread, [message["content"] for message in messages])
    _require_order(messages)
    return messages


def _layout(row: Row, format: str) -> tuple[str, ...]:
    """Return the keys of the row that hold its turns, or its instruction and its response."""
    format = "messages" if format == "less" else format
    layouts = [keys for name, keys in LAYOUTS if format in (name, "auto")]
    fitting = [keys for keys in layouts if all(key in row for key in keys)]
    if not fitting:
        known = "; ".join(" and ".join(keys) for keys in layouts)
        name = "no format" if format == "auto" else f"not the format {format}"
        raise Rejected(f"fits {name}: {known}; its keys are {', '.join(row) or 'none'}")
    # A table with rows of several formats has every key in every row; the unused ones are null.
    complete = [keys for keys in fitting if all(row[key] is not None for key in keys)]
    return (complete or fitting)[0]


def _turns(turns: Any, key: str, ignore: Collection[str], unread: list[Unread]) -> list[Message]:
    """Return the messages of a list of turns, whose other keys are appended to `unread`."""
    if not isinstance(turns, list):
        raise Rejected(f"{key} is {_type_name(turns)}, not a list")
    messages = []
    for number, turn in enumerate(turns):
        place = f"{key}[{number}]"
        if not isinstance(turn, Mapping):
            raise Rejected(f"{place} is {_type_name(turn)}, not an object")
        turn = _without(turn, ignore)
        role_key = _key(turn, place, "role", "from")
        name = _text(turn[role_key], f"{place}.{role_key}")
        if name.lower() not in ROLES:
            raise Rejected(f"{place}.{role_key} is {name!r}, not one of {', '.join(ROLES)}")
        content_key = _key(turn, place, "content", "value")
        role, content = ROLES[name.lower()], turn[content_key]
        unread.append(Unread(place, _without(turn, (role_key, content_key)), role == "assistant"))
        place = f"{place}.{content_key}"
        if isinstance(content, list):
            parts = [_part(part, f"{place}[{number}]", ignore) for number, part in enumerate(content)]
            unread += [rest._replace(is_trained=role == "assistant") for _, rest in parts]
            content = "".join(text for text, _ in parts)  # as templates write them
        messages.append({"role": role, "content": _text(content, place)})
    return messages


def _part(part: Any, place: str, ignore: Collection[str]) -> tuple[str, Unread]:
    """Return the text of a part of a content, and what stands beside it."""
    if not isinstance(part, Mapping):
        raise Rejected(f"{place} is {_type_name(part)}, not an object")
    if part.get("type") != "text":
        raise Rejected(f"{place}.type is {part.get('type')!r}, not 'text'")
    text = _text(part[_key(part, place, "text")], f"{place}.text")
    return text, Unread(place, _without(part, {"type", "text", *ignore}), is_trained=False)


def _key(mapping: Row, place: str, *names: str) -> str:
    """Return which of several names of a key there is; in a table there are all, and one is not null."""
    for name in names:
        if mapping.get(name) is not None:
            return name
    if not any(name in mapping for name in names):
        raise Rejected(f"{place} has no {' or '.join(names)}, only {', '.join(mapping) or 'nothing'}")
    return next(name for name in names if name in mapping)


def _without(mapping: Row, keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise Rejected(f"{place} is {_type_name(value)}, not a string")
    try:
        value.encode()
    except UnicodeEncodeError:  # JSON can escape half of a surrogate pair
        raise Rejected(f"{place} cannot be written as UTF-8") from None
    return value


def _is_unset(value: Any) -> bool:
    """Return whether a text is left out, null or blank: sets without inputs have any of these."""
    return value is None or (isinstance(value, str) and is_blank(value))


def _type_name(value: Any) -> str:
    return TYPE_NAMES.get(type(value), "an object" if isinstance(value, Mapping) else f"a {type(value).__name__}")


def _require_order(messages: list[Message]) -> None:
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
        if is_blank(message["content"]):
            raise Rejected(f"a turn of {message['role']} is blank")
