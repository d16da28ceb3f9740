"""Instruction formats -> one schema: a list of `{"role", "content"}` messages that ends with the response."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from moesift.data.keys import Rejected, Unread, is_blank, is_context, is_empty, refuse_lost
from moesift.data.tools import CALLS, LINKS, REASONING, TOOLS, are_written, read_calls, read_tools
from moesift.data.turns import Message, is_trained, more_of, text_of, with_more

Row = Mapping[str, Any]

# The names of the roles, in any case.
ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("function_call", "tool_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "ipython", "observation", "function_response", "tool_response"), "tool"),
}
CALLING = ("function_call", "tool_call")  # the text of such a turn is its calls, as JSON

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
    ("prompt_completion", ("question", "answer")),
    ("prompt_completion", ("query", "response")),
    ("prompt_completion", ("problem", "solution")),
    ("prompt_completion", ("inputs", "targets")),
    ("prompt_completion", ("query", "answers")),  # the answers are calls
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
    elif keys[1] == "answers":
        answer = _with_more(_turn("assistant", ""), _calls(row["answers"], "answers"), "answers")
        messages = [_turn("user", _text(row[keys[0]], keys[0])), answer]
    else:
        instruction, response = (_text(row[key], key) for key in keys)
        given = [key for key in INPUTS if "instruction" in keys and not _is_unset(row.get(key))][:1]
        read.update(given)
        instruction = "\n\n".join([instruction, *(_text(row[key], key) for key in given)])
        messages = [_turn("user", instruction), _turn("assistant", response)]
    messages = [message for message in messages if message["role"] != "system" or not is_blank(message["content"])]
    if all(message["role"] != "system" for message in messages):
        beside = [key for key in SYSTEM if not is_empty(row.get(key))][:1]
        read.update(beside)
        messages = [_turn("system", _text(row[key], key)) for key in beside] + messages
    offered = [key for key in TOOLS if isinstance(row.get(key), str | list) and not is_empty(row[key])][:1]
    read.update(offered)
    _require_order(messages)
    for key in offered:
        if messages[0]["role"] != "system" or not are_written(row[key], messages[0]["content"]):
            messages[0] = _with_more(messages[0], {"tools": read_tools(row[key], key)}, key)
    unread.append(Unread("the row", _without(row, read), is_trained=True))
    refuse_lost(unread, [text_of(message) for message in messages])
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
        role, rest = ROLES[name.lower()], _without(turn, (role_key,))
        more = _beside(rest, role, place)
        is_silent = "tool_calls" in more and all(turn.get(key) is None for key in ("content", "value"))
        content_key = "content" if is_silent else _key(turn, place, "content", "value")
        content = "" if is_silent else turn[content_key]
        rest = _without(rest, (content_key,))
        if role == "assistant" and is_context(rest):
            more["train"] = False
        unread.append(Unread(place, rest, role == "assistant" and "train" not in more))
        where = f"{place}.{content_key}"
        if name.lower() in CALLING:
            more |= _calls(content, where)
            content = ""
        if isinstance(content, list):
            parts = [_part(part, f"{where}[{number}]", ignore) for number, part in enumerate(content)]
            unread += [each._replace(is_trained=unread[-1].is_trained) for _, each in parts]
            content = "".join(text for text, _ in parts)  # as templates write them
        messages.append(_with_more(_turn(role, _text(content, where)), more, place))
    return messages


def _beside(rest: dict[str, Any], role: str, place: str) -> dict[str, Any]:
    """Return what a template takes beside the text of a turn; its keys are taken out of the rest of the turn."""
    more: dict[str, Any] = {}
    if role == "assistant":
        thoughts = [key for key in REASONING if not is_empty(rest.get(key))][:1]
        for key in thoughts:
            more["reasoning_content"] = _text(rest.pop(key), f"{place}.{key}")
        for key in [key for key in CALLS if not is_empty(rest.get(key))][:1]:
            more |= _calls(rest.pop(key), f"{place}.{key}")
    elif role == "tool":
        more |= {key: _text(rest.pop(key), f"{place}.{key}") for key in LINKS if not is_empty(rest.get(key))}
    return more


def _calls(value: Any, place: str) -> dict[str, Any]:
    calls = read_calls(value, place)
    return {"tool_calls": calls} if calls else {}


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _with_more(message: Message, more: Mapping[str, Any], place: str) -> Message:
    try:
        return with_more(message, more)
    except ValueError as error:
        raise Rejected(f"{place} {error}") from None


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


def _require_order(messages: Sequence[Message]) -> None:
    roles = [message["role"] for message in messages]
    for role in ("user", "assistant"):
        if role not in roles:
            raise Rejected(f"there is no {role} turn")
    if roles[-1] != "assistant":
        raise Rejected(f"the last turn is {roles[-1]}, not assistant: there is no response to learn")
    first = next(role for role in roles if role != "system")
    if first != "user":
        raise Rejected(f"the first turn is {first}: it answers nothing")
    if "system" in roles[1:]:
        raise Rejected("a system message comes after the first message")
    if ("user", "tool") in itertools.pairwise(roles):
        raise Rejected("a turn of tool follows one of user: it answers no call")
    if not any(map(is_trained, messages)):
        raise Rejected("no turn of assistant is trained on: all are said to be context")
    for message in messages:
        if is_blank(message["content"]) and message["role"] != "tool" and "tool_calls" not in more_of(message):
            raise Rejected(f"a turn of {message['role']} is blank")
