"""The types of configuration keys. It imports nothing heavy."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

SHOWN = 200  # characters of a value that an error quotes
WILDCARD = re.compile(r"\{\s*\w+\s*[,}]")  # in the inputs and params of a rule, Snakemake's own

Corruption = Literal[
    "swapped_alike",
    "swapped_response",
    "swapped_across",
    "wrong_choice",
    "wrong_number",
    "shuffled_words",
    "noise_10",
    "noise_30",
    "truncated",
    "unfinished",
    "repeated",
    "empty",
    "refusal",
    "gibberish",
    "perturbed_instruction",
]
WheelTask = Literal[
    "arc_easy",
    "arc_challenge",
    "boolq",
    "csqa",
    "openbookqa",
    "piqa",
    "socialiqa",
    "hellaswag",
    "winogrande",
]


class ConfigError(ValueError):
    """The configuration is invalid; the message lists every error, each with the path of its key."""


def _within(low: float, high: float, *, low_open: bool = False, high_open: bool = False) -> AfterValidator:
    """Refuse numbers outside an interval, in the notation that the message shows."""
    interval = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"

    def check(value: float) -> float:
        above = value > low if low_open else value >= low
        below = value < high if high_open else value <= high
        if not (above and below):
            raise ValueError(f"{value:g} is not in {interval}")
        return value

    return AfterValidator(check)


def _name(value: str) -> str:
    # Names become file names: nothing that climbs out of results/ or needs quoting.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value):
        raise ValueError(
            f"{value[:SHOWN]!r} is not a name: use at most 100 letters, digits, '_', '-' and '.', starting with a "
            "letter or digit"
        )
    return value


def _file(value: str) -> str:
    if not os.path.isfile(value):
        raise ValueError(f"{value} is not a file")
    return value


def _license(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,99}", value):
        raise ValueError(f"{value[:SHOWN]!r} is not a licence name of the hub, such as apache-2.0, cc-by-4.0 or other")
    return value


def _unique(values: list[Any]) -> list[Any]:
    if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
        raise ValueError(f"{', '.join(repeated)} is listed more than once")
    return values


def require_distinct(key: str, names: list[str], advice: str = "") -> None:
    """Refuse a name that is given to two entries of a key.

    Raises:
        ValueError: names both.
    """
    try:
        _unique(names)
    except ValueError as error:
        raise ValueError(f"{key}: {error}{advice}") from None


def as_list(value: Any) -> Any:
    """Return a value in a list, unless it is one."""
    return value if isinstance(value, list) else [value]


Count = Annotated[int, Field(ge=1, lt=2**63)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, _within(0, 1, high_open=True)]
OpenShare = Annotated[float, _within(0, 1, low_open=True, high_open=True)]
Ratio = Annotated[float, _within(0, 1, low_open=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, AfterValidator(_name)]
License = Annotated[str, AfterValidator(_license)]
File = Annotated[str, AfterValidator(_file)]
Unique = AfterValidator(_unique)


class Section(BaseModel):
    """Settings of one subject; a key that is not listed is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        takes_bool = cls.model_fields[str(info.field_name)].annotation is bool
        for part in as_list(value):
            if isinstance(part, bool) and not takes_bool:  # in YAML `on` and `yes` are true, and would count as 1
                raise ValueError("is true or false, which it does not take; YAML words such as yes and on need quotes")
            if isinstance(part, str) and part != part.encode(errors="replace").decode():
                raise ValueError("has half a surrogate pair, which cannot be written as UTF-8")
            if isinstance(part, str) and (braces := WILDCARD.search(part)):
                raise ValueError(f"has {braces.group()!r}, which Snakemake would take for a wildcard; write no braces")
        return value


class MethodEntry(Section):
    """A name, `nll`; or a label with settings: `method`, `reject` and the method's parameters, all optional."""

    label: Name = Field(description="name of this entry in paths and tables")
    method: str = Field(description="a declared method; the label by default")
    reject: OpenShare | Literal["select"] | None = Field("select", description="replaces `select.reject`; null ranks")
    targets: Literal["all", "each"] | Annotated[list[Name], Field(min_length=1), Unique] = Field(
        "all", description="whose queries it reads: all together, some of them, or a run for `each`, label.target"
    )
    queries: Count | None = Field(None, description="how many of each target's it reads, evenly spaced; null is all")
    add: Literal["queries"] | None = Field(
        None, description="what the target is tuned on besides what is selected: the queries of the targets"
    )
    parameters: dict[str, Any] = Field({}, description="parameters of the method, by name")

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"label": given, "method": given}
        if not isinstance(given, Mapping) or "label" in given:
            return given
        if len(given) != 1 or not isinstance(settings := next(iter(given.values())), Mapping):
            raise ValueError("must be a name, or one label with a mapping of settings, such as {router: {layers: [2]}}")
        (label,) = given
        own = cls.model_fields.keys() - {"label", "parameters"}
        known = {key: value for key, value in settings.items() if key in own}
        parameters = {key: value for key, value in settings.items() if key not in known}
        return {"label": label, "method": label, **known, "parameters": parameters}

    @field_validator("label")
    @classmethod
    def _not_base(cls, value: str) -> str:
        if value == "base":
            raise ValueError("is what results call the untuned target; choose another label")
        return value
