"""What a configuration asks for: methods, what has to be read for them, and runs. It depends on nothing else."""

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from moesift.config import EMBEDDED, SMOLLM2, Config, MethodEntry
from moesift.fields import ConfigError, Section
from moesift.methods import METHODS, N_TOKENS, Column, Method, parameters_of
from moesift.passes.columns import NEED_ROUTERS, POOL, WARMUP

USAGE = Column("routing", "expert_usage", "warmed")  # what a selection that is to be diverse looks at
TARGET_TOKENS = Column("tokens", "n_tokens", "target")  # what budgets in tokens count


class Chosen(NamedTuple):
    """A method as one configuration asks for it."""

    label: str
    method: Method
    parameters: Section
    reject: float | None  # share of each source that is rejected before a draw; None ranks

    @property
    def columns(self) -> dict[str, Column]:
        """What it reads, by argument."""
        return dict(self.method.columns(self.parameters))

    @property
    def modules(self) -> list[str]:
        """The modules that its scores are computed by: its own, and that of a method that it is made of."""
        of = METHODS.get(getattr(self.parameters, "of", ""), self.method)
        return sorted({one.compute.__module__.removeprefix("moesift.") for one in (self.method, of)})


class Run(NamedTuple):
    """One point of what is compared: a method's selection within a budget, by one seed."""

    method: str
    budget: str  # ratio-0.1 or tokens-20000, as in paths
    seed: int


class Plan(NamedTuple):
    """What a configuration asks for."""

    methods: dict[str, Chosen]  # by label
    columns: set[Column]  # that methods and selections read
    runs: list[Run]

    @property
    def warmed(self) -> bool:
        """Whether there is a warm-up."""
        return any(column.state == "warmed" for column in self.columns)

    @property
    def needs_routers(self) -> bool:
        """Whether the selector must be a Mixture of Experts."""
        return any(column.state in ("untrained", "warmed") for column in self.columns)


def planned(config: Config) -> Plan:
    """Return the plan of a configuration.

    Raises:
        ConfigError: a method or parameter is unknown, or cannot be had with the rest of the configuration.
    """
    problems: list[str] = []
    methods: dict[str, Chosen] = {}
    for entry in config.methods:
        try:
            methods[entry.label] = _chosen(entry, config)
        except ConfigError as error:
            problems.append(str(error))
    columns = {N_TOKENS, *(column for chosen in methods.values() for column in chosen.columns.values())}
    columns |= {USAGE} if config.select.diversity is not None else set()
    columns |= {TARGET_TOKENS} if config.select.tokens else set()
    problems += _refused(config, methods, columns)
    if problems:
        raise ConfigError("\n".join(problems))
    runs = [
        Run(label, budget, seed)
        for label, chosen in methods.items()
        for budget in (["ratio-1"] if chosen.method.whole else config.select.budgets())
        for seed in config.seeds
    ]
    return Plan(methods, columns, runs)


def passes_of(columns: Iterable[Column]) -> list[tuple[str, str]]:
    """Return the passes that give columns, each as its name and the state of the model that reads, in order."""
    return sorted({(column.pass_name, column.state) for column in columns if column.pass_name not in (POOL, WARMUP)})


def files_of(columns: Iterable[Column], results: str, seed: int | str, epochs: int) -> dict[str, str]:
    """Return the parquet of each pass that gives columns, by `{pass}/{state}`: the contract of paths of the passes.

    Args:
        results: the folder of the experiment.
        seed: of the warm-up.
        epochs: of the warm-up.
    """
    states = {"untrained": f"seed-{seed}/epoch-0", "warmed": f"seed-{seed}/epoch-{epochs}"}
    own = {POOL: f"{results}/data/pool.parquet", WARMUP: f"{results}/warmup/seed-{seed}/examples.parquet"}
    return {
        f"{column.pass_name}/{column.state}": own.get(column.pass_name)
        or f"{results}/passes/{states.get(column.state, column.state)}/{column.pass_name}.parquet"
        for column in sorted(columns)
    }


def _chosen(entry: MethodEntry, config: Config) -> Chosen:
    if entry.method not in METHODS:
        near = difflib.get_close_matches(entry.method, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(METHODS)}"
        raise ConfigError(f"methods: unknown method {entry.method}; {hint}")
    declared = METHODS[entry.method]
    parameters = parameters_of(declared, entry.parameters)
    declared.columns(parameters)
    reject = None if declared.ranks else config.select.reject if entry.reject == "select" else entry.reject
    most = max(config.select.ratio, default=0)
    if reject is not None and most > 1 - reject and not math.isclose(most, 1 - reject):
        raise ConfigError(
            f"select.ratio: {most:g} of the pool is more than the {1 - reject:g} that `reject` leaves for "
            f"{entry.label}; keep less, reject less, or rank, with `reject: null`"
        )
    return Chosen(entry.label, declared, parameters, reject)


def _refused(config: Config, methods: Mapping[str, Chosen], columns: Iterable[Column]) -> list[str]:
    """Return what cannot be had together."""
    problems = []
    reducible = [label for label, chosen in methods.items() if chosen.method.name == "reducible"]
    if reducible and config.warmup.objective == "contrastive":
        problems.append(f"methods: {reducible[0]} needs a warm-up that lowers the loss; contrastive leaves it as it is")
    if reducible and config.warmup.examples is None:
        problems.append(
            f"warmup.examples: null trains on the whole pool, but {reducible[0]} scores only what was not trained on; "
            "give a number, or leave it out of methods"
        )
    routed = [label for label, chosen in methods.items() if any(map(_by_routers, chosen.columns.values()))]
    routed += ["select.diversity"] if config.select.diversity is not None else []
    if routed and config.selector.upcycle is None and _is_dense(config.selector.model):
        problems.append(
            f"selector.model: {config.selector.model} is dense, and {', '.join(routed)} need routers: leave them out, "
            "take a Mixture of Experts, or turn this model into one, by "
            "selector.upcycle: {experts: 8, experts_per_token: 2, seed: 0}"
        )
    return problems


def _by_routers(column: Column) -> bool:
    return column.pass_name in NEED_ROUTERS or column.state in ("untrained", "warmed")


def _is_dense(model: str) -> bool:
    """Say whether a selector is known to have no experts; of a name on the hub nothing is known before it is loaded."""
    if model in (EMBEDDED, SMOLLM2):
        return model == SMOLLM2
    try:
        with open(f"{model}/config.json", encoding="utf-8") as file:
            return "expert" not in file.read()  # num_experts, num_local_experts, n_routed_experts, …
    except OSError:
        return False


def parameters_json(chosen: Chosen) -> str:
    """Return the parameters of a method as a rule hands them to the stage."""
    return chosen.parameters.model_dump_json()


def describe(chosen: Chosen) -> dict[str, Any]:
    """Return what the report says of a method: label, declared name, caption, source and parameters."""
    declared = chosen.method
    return {
        "label": chosen.label,
        "method": declared.name,
        "caption": declared.caption,
        "source": declared.source,
        "whole": declared.whole,
        "parameters": chosen.parameters.model_dump(mode="json"),
    }
