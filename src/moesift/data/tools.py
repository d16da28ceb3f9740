"""Tools, calls and reasoning beside the text of a row or of a turn, as transformers' chat templates take them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from moesift.data.keys import Rejected, Unread, is_blank, refuse_lost

TOOLS = ("tools", "functions")  # of a row
CALLS = ("tool_calls", "function_call")  # of a turn
REASONING = ("reasoning_content", "thinking", "reasoning")  # of a turn; templates are handed each name for the others
CALL = ("type", "function", "name", "arguments")  # of a call and its function
LINKS = ("tool_call_id", "name")  # of a turn of a tool: which call it answers
QUOTES = re.compile(r"[\s'\"]+")


def read_tools(value: Any, place: str) -> list[dict[str, Any]]:
    """Return tools as JSON schemas, `{"type": "function", "function": {"name", …}}`.

    Args:
        value: a list of such schemas or of functions alone, or JSON text of either, or of its elements.
        place: of the value, for the reason.

    Raises:
        Rejected: it is none of these.
    """
    return [_wrapped(tool, f"{place}[{number}]") for number, tool in enumerate(_listed(value, place))]


def read_calls(value: Any, place: str) -> list[dict[str, Any]]:
    """Return calls as `{"type": "function", "function": {"name", "arguments"}}`, the arguments an object.

    Args:
        value: a call or a list of calls, or of functions alone, or JSON text of them; arguments may be JSON text.
        place: of the value, for the reason.

    Raises:
        Rejected: it is none of these, or something beside it would be lost.
    """
    calls = []
    for number, call in enumerate(_listed(value, place)):
        wrapped = _wrapped(call, f"{place}[{number}]")
        beside = {key: value for key, value in (wrapped | wrapped["function"]).items() if key not in CALL}
        refuse_lost([Unread(f"{place}[{number}]", beside, is_trained=True)], ())
        where = f"{place}[{number}] has arguments that"
        arguments = wrapped["function"].get("arguments")
        is_unset = arguments is None or (isinstance(arguments, str) and is_blank(arguments))
        arguments = {} if is_unset else _parsed(arguments, where)
        if not isinstance(arguments, Mapping):
            raise Rejected(f"{where} are not an object")
        calls.append(wrapped | {"function": wrapped["function"] | {"arguments": arguments}})
    return calls


def are_written(tools: Any, text: str) -> bool:
    """Return whether a text has every tool of a list, as JSON or as Python writes it."""
    try:
        listed = _listed(tools, "tools")
    except Rejected:
        return False
    squeezed = QUOTES.sub("", text)
    return all(QUOTES.sub("", json.dumps(tool, ensure_ascii=False, default=str)) in squeezed for tool in listed)


def _wrapped(value: Any, place: str) -> dict[str, Any]:
    value = _parsed(value, f"{place} is text that")
    whole = dict(value) if isinstance(value, Mapping) else {}
    function = whole.get("function")
    if not isinstance(function, Mapping):
        function, whole = whole, {"type": "function"}
    if not isinstance(function.get("name"), str):
        raise Rejected(f"{place} has no function with a name")
    return whole | {"function": dict(function)}


def _listed(value: Any, place: str) -> Sequence[Any]:
    value = _parsed(value, f"{place} is text that")
    if isinstance(value, Mapping):
        return [value]
    if not isinstance(value, list):
        raise Rejected(f"{place} is neither a list nor an object")
    return value


def _parsed(value: Any, what: str) -> Any:
    """Return what a JSON text says, and another value as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Rejected(f"{what} is not JSON") from None
