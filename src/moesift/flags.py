"""Configuration keys as command-line flags, so that a stage is told each value and never reads the configuration.

`arguments` writes them (in a Snakemake rule), `add` reads them (in a stage). A value travels as JSON, which keeps
`null`, numbers and lists what they are, and the field of the configuration model validates it once more. By hand YAML
may be written.
"""

import argparse
import json
import shlex
from collections.abc import Callable
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from moesift.config import Section


def arguments(section: Section, *names: str) -> str:
    """Return `--name value` for the named keys of a section, quoted for a shell."""
    words = []
    for name, value in section.model_dump(include=set(names), mode="json").items():
        words += [_flag(name), value if _is_plain(value) else json.dumps(value)]
    return shlex.join(words)


def add(parser: argparse.ArgumentParser, section: type[Section], *names: str) -> None:
    """Add a required flag for each named key of a section, with the key's type and description."""
    for name in names:
        field = section.model_fields[name]
        parser.add_argument(_flag(name), required=True, type=_reader(field), help=field.description, metavar="VALUE")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _reader(field: FieldInfo) -> Callable[[str], Any]:
    annotation: Any = field.annotation
    adapter = TypeAdapter(Annotated[annotation, *field.metadata] if field.metadata else annotation)

    def read(text: str) -> Any:
        try:
            return adapter.validate_python(_value(text))
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error.errors()[0]['msg']}") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise argparse.ArgumentTypeError(f"{text}: is neither JSON nor YAML: {error}") from None

    return read


def _is_plain(value: Any) -> bool:
    """Say whether a value is text that is read as what it is; a folder may be called 2024."""
    try:
        return isinstance(value, str) and _value(value) == value
    except yaml.YAMLError:
        return False


def _value(text: str) -> Any:
    try:
        return json.loads(text)  # not every JSON is YAML: it writes an emoji as two halves
    except ValueError:
        return yaml.safe_load(text)
