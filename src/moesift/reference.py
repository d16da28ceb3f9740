"""The reference of the configuration, in Markdown, made from its schema and the declared methods: `make docs`."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from moesift.config import Config
from moesift.methods import METHODS, Method
from moesift.passes.columns import UNREAD

OPENING = """# Configuration

`config.yaml` has the defaults, with a reason above each. Your own file is merged over it, so it contains only what
differs (a list replaces the whole list):

    snakemake --cores all --configfile config/mine.yaml

Unknown keys, wrong types and impossible values are reported before anything runs, all at once, each with its path, and
then all that is wrong with `methods`. A changed key reruns what depends on it and nothing else. The keys of
`throughput` and `estimate` change no result and rerun nothing, except `throughput.shards`. `make docs` makes this page.

An entry of `methods` is the name of a method, or a label with settings:

    methods:
      - typical_inputs                            # with the default parameters
      - router: {layers: [2, 3]}                  # with other parameters
      - middle: {method: router, layers: [2]}     # under a label of its own, so that a method may be listed twice
      - nll: {reject: null}                       # `reject` of one method: null ranks, 0.5 rejects the lower half
      - rds: {targets: each}                      # one selection for each target; [mine] for some; all by default
      - few: {method: rds, queries: 8}            # eight queries of each target, evenly spaced; all by default
      - both: {method: rds, add: queries}         # the target is tuned on the queries too, on top of the budget

Paths and tables use the label. The [methods](#methods) are at the end of this page."""
TYPES = {"integer": "whole number", "string": "text", "null": "`null`", "object": "mapping", "boolean": "true or false"}


def reference(defaults: Mapping[str, Any]) -> str:
    """Return the page, with the default values of config/config.yaml."""
    schema = Config.model_json_schema()
    lines = [OPENING, *_tables("", schema, defaults, schema["$defs"]), "\n## methods\n"]
    lines += ["| method | ranks highest | reads | parameters | source |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(_method(each) for each in METHODS.values())]) + "\n"


def _tables(
    path: str, section: Mapping[str, Any], defaults: Mapping[str, Any] | None, sections: Mapping[str, Any]
) -> Iterator[str]:
    """Yield the table of a section's keys, then the tables of the sections in it."""
    yield f"\n{'###' if '.' in path else '##'} {path or 'Top level'}\n\n{section['description']}\n"
    yield "| key | type | default | what it is |\n| --- | --- | --- | --- |"
    inside = {}
    for key, field in section["properties"].items():
        if name := re.search(r"#/\$defs/(\w+)", json.dumps(field)):
            inside[key] = name[1]
        if "$ref" not in field:
            value = defaults[key] if defaults else field.get("default", "required")
            shown = (
                "see the file"
                if key in ("sources", "tasks")
                else value
                if value == "required"
                else f"`{json.dumps(value)}`"
            )
            yield f"| `{key}` | {_type(field)} | {shown} | {field['description']} |"
    for key, name in inside.items():
        if name != "MethodEntry":  # which the opening explains
            values = (defaults or {}).get(key)
            values = values if isinstance(values, Mapping) else None
            yield from _tables(f"{path}.{key}".strip("."), sections[name], values, sections)


def _type(field: Mapping[str, Any]) -> str:
    """Return a type of JSON schema in words."""
    if "anyOf" in field:
        return " or ".join(map(_type, field["anyOf"]))
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum") or [field["const"]])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    return TYPES.get(field.get("type", "object"), field.get("type", "section"))


def _method(declared: Method) -> str:
    parameters = declared.parameters()
    passes = {(column.pass_name, column.state) for column in declared.columns(parameters).values()}
    reads = ", ".join(name if name in UNREAD else f"{name} ({state})" for name, state in sorted(passes))
    given = ", ".join(f"`{name}: {json.dumps(value)}`" for name, value in parameters)
    cells = (f"`{declared.name}`", declared.caption, reads, given, declared.source)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(reference(yaml.safe_load(Path(sys.argv[1]).read_text())))
