"""One message that lists everything that is wrong with a configuration, each with the path of its key."""

import datetime
import difflib
import os
import re
from collections import Counter
from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from moesift.config import EMBEDDED, SMOLLM2, Config
from moesift.fields import SHOWN, ConfigError


def validated(raw: Mapping[str, Any]) -> Config:
    """Return the configuration, or say everything that is wrong with it.

    Raises:
        ConfigError: one line per error, each `path.of.key: what is wrong`.
    """
    try:
        config = Config.model_validate(dict(raw))
    except ValidationError as error:
        raise ConfigError("\n".join(_line(detail) for detail in error.errors())) from None
    missing = [
        f"{key}: {model} {reason}"
        for key, model in (("selector.model", config.selector.model), ("target.model", config.target.model))
        if (reason := _unusable(model))
    ]
    if missing:
        raise ConfigError("\n".join(missing))
    return config


def repeated_keys(text: str) -> list[str]:
    """Return the keys that stand twice in a section of a YAML file, each with its line; YAML itself keeps the last."""
    try:
        waiting = [yaml.compose(text, Loader=yaml.SafeLoader)]
    except yaml.YAMLError:
        return []  # Snakemake reads JSON as well, which may be indented by tabs
    found: list[str] = []
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
            found += [f"line {key.start_mark.line + 1}: {key.value}" for key in keys if counts[key.value] > 1]
    return found


def _line(detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "model_type":
        return f"{path}: is {_shown(detail['input'])}, not a section with keys of its own"
    if isinstance(detail["input"], (int, float, str)):
        path = re.sub(r"\.\d+$", "", path)  # of a list of plain values the value itself is shown, not its place
    if detail["type"] == "extra_forbidden":
        *parents, key = detail["loc"]
        near = difflib.get_close_matches(str(key), _keys(parents), n=1)
        return f"{path}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
    if detail["type"] == "missing":
        return f"{path}: is missing"
    if detail["type"] == "value_error":
        # Validators of a section name the key themselves; those of a value need it named.
        message = str(detail["ctx"]["error"])
        named = re.match(r"[a-z_.]+: ", message)
        return f"{path}.{message}" if named and path else message if named else f"{path}: {message}"
    shown = _shown(detail["input"])
    return f"{path}: {shown} is refused: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _shown(value: Any) -> str:
    """Return a value as one would write it in YAML, the beginning of it where it is long."""
    if not isinstance(value, (int, float, str, datetime.date, type(None))):
        return "this"
    text = "null" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _keys(path: list[Any]) -> list[str]:
    """Return the keys that the section at `path` knows."""
    section: Any = Config
    for part in path:
        section = get_args(section)[0] if isinstance(part, int) else section.model_fields[part].annotation
        section = get_args(section)[0] if isinstance(section, UnionType) else section
    return list(section.model_fields)


def _unusable(model: str) -> str | None:
    """Say why a model cannot be what the key asks for; None where it can. A hub name is not looked up here."""
    if model in (EMBEDDED, SMOLLM2):
        return None
    if os.path.isdir(model):
        found = os.path.isfile(os.path.join(model, "config.json"))
        return None if found else "has no config.json: is it a model directory?"
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return "is neither a directory nor a name on the hub (owner/name)"
    return None
