"""What a method is: a pure function of columns of passes, with its declaration beside it. Nothing heavy is imported.

    @method(
        reads={"nll": Column("likelihood", "nll"), "n_tokens": N_TOKENS},
        caption="what the model finds likely, per response token",
        source="baseline",
    )
    def nll(nll, n_tokens):
        return -nll / n_tokens

The function takes one array per column, (N,) or (N, D), by the names of `reads`: of the N examples of the pool in its
order, nan where nothing was measured. Parameters after a `*` are the method's own, with a type and a default: a
configuration sets them, `{router: {layers: [2]}}`. One that is called `seed` is given the seed of the run. It returns
scores, (N,), the higher the better, nan for none; or these and, by its reason, which examples it refuses, (N,) bool.

A method that is `targeted` compares the pool with the queries of the targets, and is called with the pool in blocks, so
that memory is bounded:

    @method(targeted=True, reads={"hidden": Column("representation", "weighted")}, caption="…", source="…")
    def rds(pool, queries):
        wanted = unit(queries["hidden"])            # (V, D)
        for block in pool:                          # of B examples; the pool may be read again
            yield unit(block["hidden"]) @ wanted.T  # (B, V)

Blocks and queries map the names of `reads` to tensors, (B,) or (B, D) float32 with nan where nothing was measured, on a
GPU where the job has one; `messages` are lists. `queries["target"]` is the number of the target that each of the V
queries is of, (V,). It yields how similar each example is to each query, (B, V), or, if it is `by_target`, how well it
suits each of the T targets, (B, T). What follows from that is in `moesift.select.targeted`: which query takes what is
the parameter `aggregate`, which every method has that is not `by_target`.

To add a method is to add a function to a file of this folder. What must be measured for it, the tables of the docs and
of the report and the checks of a configuration follow from the declaration.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import ValidationError, create_model

from moesift.fields import ConfigError, Section
from moesift.passes.columns import BROUGHT, ON_TARGET, PASSES, POOL

# `selector` and `target` are the models as they came. `untrained` and `warmed` are the selector with trash-can experts,
# before the warm-up and after its last epoch; `lora-1` is the selector with its first LoRA checkpoint, and `reward` the
# sequence classifier of the section `reward`. `warmed_on_target` and `lora-1_on_target` are the same after a warm-up on
# the queries of one target: as many models as targets, so that a column has T numbers for each example.
STATES = ("selector", "target", "reward", "untrained", "warmed", "warmed_on_target")
Scores = np.ndarray | tuple[np.ndarray, Mapping[str, np.ndarray]]
Block = Mapping[str, Any]  # what a targeted method reads, of some examples of the pool or of all queries
Blocks = Iterable[Block]
Aggregate = Literal["round_robin", "max", "mean"]


@dataclass(frozen=True, order=True)
class Column:
    """A column of a pass, read by one state of a model; of the pass `pool` a column of the pool itself.

    The pool has one more for each of the `scores` of its sources, `score:NAME`.
    """

    pass_name: str
    name: str
    state: str = "selector"

    def __post_init__(self) -> None:
        """Refuse what no pass gives, and what no model is."""
        brought = self.pass_name == POOL and self.name.startswith(BROUGHT)
        if not brought and self.name not in PASSES.get(self.pass_name, {}):
            columns = ", ".join(PASSES.get(self.pass_name, {}))
            known = f"its columns: {columns}" if columns else f"the passes: {', '.join(PASSES)}"
            raise ValueError(f"{self.pass_name} is no pass with a column {self.name} ({known})")
        if self.state not in STATES and not re.fullmatch(f"lora-[1-9][0-9]*({ON_TARGET})?", self.state):
            raise ValueError(f"{self.state} is no state of a model ({', '.join(STATES)}, lora-1, lora-2, …)")


N_TOKENS, REFUSED = Column("tokens", "n_tokens"), Column("tokens", "refused")
Reads = Mapping[str, Column] | Callable[[Any], Mapping[str, Column]]  # the same for all, or by the parameters


@dataclass(frozen=True)
class Method:
    """A declared method."""

    name: str
    compute: Callable[..., Scores]
    reads: Reads
    parameters: type[Section]
    caption: str  # one line that completes «ranks highest: …»
    source: str  # a paper, or what it is beside those
    ranks: bool  # it is kept as it ranks: `select.reject`, which is for scores of quality, does not apply
    keeps: Literal["budget", "pool", "queries"]  # the best within the budget; or all of the pool; or no part of it
    targeted: bool  # it compares the pool with the queries of the targets
    by_target: bool  # and gives a number for each target instead of one for each query

    def columns(self, parameters: Section) -> Mapping[str, Column]:
        """Return what it reads with these parameters, by argument."""
        return self.reads if isinstance(self.reads, Mapping) else self.reads(parameters)

    def query_columns(self, parameters: Section) -> Mapping[str, Column]:
        """Return the columns of the queries that it reads."""
        columns = self.columns(parameters) if self.targeted else {}
        return {name: column for name, column in columns.items() if column.pass_name == POOL or not self.by_target}

    @property
    def measures(self) -> bool:
        """Whether it says more of an example than its length, as neither chance nor the whole pool does."""
        return self.reads != {"n_tokens": N_TOKENS}

    @property
    def needs_seed(self) -> bool:
        """Whether it differs from seed to seed by itself."""
        return "seed" in inspect.signature(self.compute).parameters


METHODS: dict[str, Method] = {}
Compute = TypeVar("Compute", bound=FunctionType)  # returns Scores


def method(
    *,
    reads: Reads,
    caption: str,
    source: str,
    ranks: bool = False,
    keeps: Literal["budget", "pool", "queries"] = "budget",
    targeted: bool = False,
    by_target: bool = False,
    aggregate: Aggregate = "round_robin",
) -> Callable[[Compute], Compute]:
    """Declare a function as a method of its name.

    Args:
        reads: the columns by argument, or what returns them from the parameters.
        caption: one line that completes «ranks highest: …».
        source: a paper, or what it is beside those.
        ranks: it is kept as it ranks; `select.reject` does not apply.
        keeps: the best within the budget, the whole pool, or the queries alone.
        targeted: it compares the pool with queries.
        by_target: it yields a column for each target instead of each query.
        aggregate: default of this parameter of a targeted method.

    Raises:
        TypeError: the function does not go with its declaration; the message says what would.
    """

    def declare(compute: Compute) -> Compute:
        given = inspect.signature(compute).parameters.values()
        columns = [one.name for one in given if one.kind is one.POSITIONAL_OR_KEYWORD]
        expected = ["pool", "queries"] if targeted else columns if callable(reads) else list(reads)
        if columns != expected:
            raise TypeError(f"{compute.__name__} takes {columns}, but should take {expected}")
        own = {one.name: one for one in given if one.kind is one.KEYWORD_ONLY and one.name != "seed"}
        if untyped := [one.name for one in own.values() if inspect.Parameter.empty in (one.annotation, one.default)]:
            raise TypeError(f"{compute.__name__}: the parameter {untyped[0]} needs a type and a default")
        name = compute.__name__
        fields: dict[str, Any] = {name: (one.annotation, one.default) for name, one in own.items()}
        if targeted and "aggregate" in fields:
            raise TypeError(f"{name}: every targeted method has a parameter aggregate; give its default to @method")
        fields |= {"aggregate": (Aggregate, aggregate)} if targeted and not by_target else {}
        parameters = create_model(name, __base__=Section, **fields)
        try:
            parameters.model_validate({parameter: default for parameter, (_, default) in fields.items()})
        except ValidationError as error:
            first = error.errors()[0]
            raise TypeError(f"{name}: the default of {first['loc'][0]} is not of its type: {first['msg']}") from None
        if name in METHODS:
            other = METHODS[name].compute.__module__
            raise TypeError(f"{compute.__module__}: there is a method {name} in {other}; give it another name")
        ranked = ranks or targeted or keeps != "budget"
        METHODS[name] = Method(name, compute, reads, parameters, caption, source, ranked, keeps, targeted, by_target)
        return compute

    return declare


def parameters_of(declared: Method, given: Mapping[str, Any]) -> Section:
    """Return the parameters of a method, with its defaults for those that are not given.

    Raises:
        ConfigError: names the method and the parameter.
    """
    try:
        return declared.parameters.model_validate(given)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for one in error.errors():  # of a parameter that may have several types, one for each of them
            unknown = one["type"] == "extra_forbidden"
            message = "unknown parameter" if unknown else one["msg"].removeprefix("Value error, ")
            problems.setdefault(str(one["loc"][0]), []).append(message[0].lower() + message[1:])
        listed = "; ".join(f"{name}: {' or '.join(messages)}" for name, messages in problems.items())
        known = ", ".join(declared.parameters.model_fields) or "none"
        raise ConfigError(f"methods.{declared.name}: {listed} (its parameters: {known})") from None
