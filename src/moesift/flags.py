"""The flags of a stage are the parameters of its `main`: each is read by its annotation, and none has a default twice.

A rule hands over keys of a section of the configuration as one JSON flag, written by `keys`; so a stage is told each
value that it depends on, never reads the configuration, and runs again when one of them changes.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from moesift import errors
from moesift.fields import Section
from moesift.files import require_parquet

Parquet = Annotated[Path, AfterValidator(require_parquet)]  # a complete parquet file that is there


def keys(section: Section, *names: str, without: Sequence[str] = ()) -> str:
    """Return keys of a section as JSON, all of them unless some are named: what a rule gives as a flag."""
    return section.model_dump_json(include=set(names) or None, exclude=set(without))


def run(main: Callable[..., None]) -> None:
    """Call a stage's `main` with what the command line says; what a user can mend ends in one message."""
    errors.run(lambda: main(**parsed(main, sys.argv[1:])))


def parsed(main: Callable[..., None], words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of `main`: one flag per parameter, required unless it has a default.

    A parameter of type bool is a switch, a list takes several words, a section of the configuration JSON or YAML with
    those of its keys that the stage reads. The help is the docstring's.
    """
    about, _, described = inspect.cleandoc(main.__doc__ or "").partition("Args:\n")
    helps = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", described, re.MULTILINE))
    overview = (sys.modules[main.__module__].__doc__ or "").strip() or about
    parser = argparse.ArgumentParser(description=overview, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, parameter in inspect.signature(main, eval_str=True).parameters.items():
        how: dict[str, Any] = {"help": " ".join(helps.get(name, "").split())}
        if parameter.annotation is bool:
            how["action"] = "store_true"
        else:
            annotation, how["nargs"] = parameter.annotation, None
            if get_origin(annotation) is list:
                (annotation,), how["nargs"] = get_args(annotation), "*"
            how |= {"type": _reader(annotation), "metavar": "VALUE"}
            how |= {"required": True} if parameter.default is parameter.empty else {"default": parameter.default}
        parser.add_argument("--" + name.replace("_", "-"), **how)
    return vars(parser.parse_args(words))


def _reader(annotation: Any) -> Callable[[str], Any]:
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    as_it_is = any(part in (str, Path, Parquet) for part in parts)  # a folder may be called 2024

    def read(text: str) -> Any:
        try:
            value = text if as_it_is else _value(text)
            if isinstance(annotation, type) and issubclass(annotation, Section) and isinstance(value, Mapping):
                return _section(annotation, value)
            return TypeAdapter(annotation).validate_python(value)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(f"{text}: {error.errors()[0]['msg']}") from None
        except (yaml.YAMLError, RecursionError) as error:
            raise argparse.ArgumentTypeError(f"{text}: is neither JSON nor YAML: {error}") from None

    return read


def _section(section: type[Section], given: Mapping[str, Any]) -> Section:
    """Return a section with the given keys alone, each validated by its field; to read another one is an error."""
    if unknown := sorted(set(given) - set(section.model_fields)):
        raise argparse.ArgumentTypeError(f"{section.__name__} has no key {', '.join(unknown)}")
    return section.model_construct(
        **{name: _field(section.model_fields[name]).validate_python(value) for name, value in given.items()}
    )


def _field(field: FieldInfo) -> TypeAdapter:
    annotation: Any = field.annotation
    return TypeAdapter(Annotated[annotation, *field.metadata] if field.metadata else annotation)


def _value(text: str) -> Any:
    try:
        return json.loads(text)  # not every JSON is YAML: it writes an emoji as two halves
    except ValueError:
        return yaml.safe_load(text)
