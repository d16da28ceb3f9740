"""Every configuration key as a Markdown table, from the model that validates it: `make docs`."""

import json
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from typing_extensions import TypeIs

from moesift.config import Claim, Config, Doses, Human, Section, Source, Study, Task, TaskSize, Upcycle

OPENING = """# Configuration

`config.yaml` is the default, with the reason for each value above it. A file of yours is merged over it, so it names
only what differs (a list replaces the whole list):

    snakemake --cores all --configfile config/mine.yaml

Unknown keys, wrong types and impossible values are refused before anything runs, all at once, each with its path. Keys
of `throughput` and `estimate` change no result, so changing them reruns nothing, save `shards`; every other key reruns
what depends on it and nothing else. This page is made from the model in `src/moesift/config.py` by `make docs`.
"""


def reference(default: dict[str, Any]) -> str:
    """Return the page, with the values of the default configuration."""
    parts = [OPENING, "## Top level\n", *_table(Config, default, prefix="")]
    for name, field in Config.model_fields.items():
        if _is_section(field.annotation):
            parts += [
                f"\n## {name}\n",
                f"{field.annotation.__doc__}\n",
                *_table(field.annotation, default[name], f"{name}."),
            ]
            for item, key in (
                (Source, "data.sources"),
                (Task, "evaluate.tasks"),
                (TaskSize, "estimate.tasks"),
                (Upcycle, "selector.upcycle"),
            ):
                if key.startswith(f"{name}."):
                    opening = f"`{key}`" if item is Upcycle else f"Each of `{key}`"
                    parts += [f"\n{opening}: {item.__doc__}\n", *_table(item, None, prefix="")]
    for item, key in ((Study, "study"), (Claim, "study.claim"), (Doses, "study.doses"), (Human, "study.human")):
        parts += [f"\n## {key}\n" if item is Study else f"\n`{key}`: {item.__doc__}\n"]
        parts += [f"{item.__doc__}\n"] if item is Study else []
        parts += _table(item, None, prefix=f"{key}.")
    return "\n".join(parts) + "\n"


def _table(section: type[Section], default: dict[str, Any] | None, prefix: str) -> list[str]:
    given = "default" if default is not None else "unless given"
    rows = [f"| key | type | {given} | what it is |", "| --- | --- | --- | --- |"]
    for name, field in section.model_fields.items():
        if _is_section(field.annotation):
            continue
        value = default[name] if default is not None else field.default
        if field.is_required() and default is None:
            shown = "required"
        else:
            shown = (
                "see the file" if isinstance(value, list) and isinstance(value[0], dict) else f"`{json.dumps(value)}`"
            )
        rows.append(f"| `{prefix}{name}` | {_type(field.annotation)} | {shown} | {field.description} |")
    return rows


def _is_section(annotation: Any) -> TypeIs[type[Section]]:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join("`null`" if part is type(None) else _type(part) for part in get_args(annotation))
    if _is_section(annotation):
        return "section"
    if get_origin(annotation) is dict:
        return " → ".join(_type(part) for part in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_type(get_args(annotation)[0])}"
    if get_args(annotation):  # Annotated
        return _type(get_args(annotation)[0])
    return {"str": "text", "int": "whole number", "float": "number"}.get(
        annotation.__name__, annotation.__name__.lower()
    )


if __name__ == "__main__":
    sys.stdout.write(reference(yaml.safe_load(Path(sys.argv[1]).read_text())))
