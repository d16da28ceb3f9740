"""One message with every error of a configuration, each with the path of its key."""

import datetime
import difflib
import re
from collections import Counter
from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from moesift.config import Config
from moesift.fields import SHOWN, ConfigError, Section


def validated(raw: Mapping[str, Any]) -> Config:
    """Return the validated configuration.

    Raises:
        ConfigError: one line per error, each `path.of.key: what is wrong`.
    """
    try:
        return Config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(detail) for detail in error.errors())) from None


def repeated_keys(text: str) -> list[str]:
    """Return the duplicate keys of each section of a YAML file, with their lines; YAML itself keeps the last."""
    try:
        waiting = [yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))]
    except yaml.YAMLError:
        return []  # Snakemake reads JSON as well, which may be indented by tabs
    repeated: list[str] = []
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias may repeat a node without end
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            waiting += [value for _, value in node.value]
            counts = Counter(key.value for key in keys)
            repeated += [f"line {key.start_mark.line + 1}: {key.value}" for key in keys if counts[key.value] > 1]
    return repeated


def _line(detail: ErrorDetails) -> str:
    keys, section = _place(detail)
    path = ".".join(map(str, keys))
    if detail["type"] == "model_type":
        return f"{path}: is {_shown(detail['input'])}, but must be a section with keys"
    if isinstance(detail["input"], (int, float, str)):
        path = re.sub(r"\.\d+$", "", path)  # in a list of plain values, the value is shown instead of its index
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(keys[-1]), section.model_fields, n=1)
        return f"{path}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
    if detail["type"] == "missing":
        return f"{path}: is missing"
    if detail["type"] == "value_error":
        # Validators of a section name the key in their message; those of a value do not.
        message = str(detail["ctx"]["error"])
        named = re.match(r"[a-z_.]+: ", message)
        return f"{path}.{message}" if named and path else message if named else f"{path}: {message}"
    return f"{path}: {_shown(detail['input'])} is refused: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _place(detail: ErrorDetails) -> tuple[list[str | int], Any]:
    """Return the keys that lead to an error, and the section of the last one."""
    section, annotation, keys = Config, Config, []
    for part in detail["loc"]:
        if isinstance(part, int):
            keys.append(part)
            annotation = get_args(annotation)[0] if get_args(annotation) else None
        elif isinstance(annotation, type) and issubclass(annotation, Section):
            keys.append(part)
            section = annotation
            field = section.model_fields.get(part)
            annotation = field and field.annotation
        # What is left are pydantic's own names for the types of a union, and keys of a mapping.
        annotation = get_args(annotation)[0] if isinstance(annotation, UnionType) else annotation
    return keys, section


def _shown(value: Any) -> str:
    """Return a value as in YAML, shortened if it is long."""
    if not isinstance(value, (int, float, str, datetime.date, type(None))):
        return "this"
    text = "null" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
