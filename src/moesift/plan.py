"""What a configuration asks for: methods, the passes that they read, and runs. It depends on nothing else."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from moesift.config import EMBEDDED, SMOLLM2, Config, MethodEntry
from moesift.fields import ConfigError, Section
from moesift.methods import METHODS, N_TOKENS, Column, Method, parameters_of
from moesift.passes.columns import BROUGHT, EXTERNAL, NEED_ROUTERS, ON_TARGET, POOL, UNREAD, WARMUP

REPRESENTATION = Column("representation", "weighted")  # read by `select.diversity` and `near_duplicates.cosine`
TARGET_TOKENS = Column("tokens", "n_tokens", "target")  # read by budgets in tokens
FIXED_BUDGETS = {"pool": ["ratio-1"], "queries": ["queries"]}  # of methods that keep all of something


class Chosen(NamedTuple):
    """A method as one configuration asks for it."""

    label: str
    method: Method
    parameters: Section
    reject: float | None  # share of each source that is rejected before a random draw; None ranks
    targets: list[str]  # whose queries it reads or keeps
    each: str | None = None  # the label of its entry, which selects for each target by itself
    queries: int | None = None  # how many of each target's; None is all
    add: str | None = None  # "queries": the target is tuned on them besides

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that it reads, by argument."""
        return dict(self.method.columns(self.parameters))

    @property
    def query_columns(self) -> dict[str, Column]:
        """The columns of the queries that it reads, by argument."""
        return dict(self.method.query_columns(self.parameters))

    @property
    def file(self) -> str | None:
        """The file of scores that it reads, if it reads one."""
        return getattr(self.parameters, "path", None)

    @property
    def modules(self) -> list[str]:
        """The modules that compute its scores: its own, and for `bottom` that of the method `of`."""
        of = METHODS.get(getattr(self.parameters, "of", ""), self.method)
        return sorted({one.compute.__module__.removeprefix("moesift.") for one in (self.method, of)})


class Run(NamedTuple):
    """One run of the comparison: the selection of a method, within a budget, with a seed."""

    method: str
    budget: str  # ratio-0.1 or tokens-20000, as in paths; `queries` where these are trained on instead of the pool
    seed: int


class Plan(NamedTuple):
    """What a configuration asks for."""

    methods: dict[str, Chosen]  # by label
    columns: set[Column]  # of the pool that methods and selections read
    runs: list[Run]
    routed: list[str]  # the methods that need a selector with routers

    @property
    def warmed(self) -> bool:
        """Whether the routers are trained."""
        return any(column.state.startswith("warmed") for column in self.columns)

    @property
    def rewards(self) -> bool:
        """Whether a sequence classifier reads the pool."""
        return any(column.state == "reward" for column in self.columns)

    @property
    def tunes_selector(self) -> bool:
        """Whether LoRA matrices of the selector are trained."""
        return any(column.state.startswith("lora-") for column in self.columns)


def planned(config: Config) -> Plan:
    """Return the plan of a configuration.

    Raises:
        ConfigError: a method or a parameter is unknown, or does not go with the rest of the configuration.
    """
    problems: list[str] = []
    methods: dict[str, Chosen] = {}
    for entry in config.methods:
        try:
            for chosen in _chosen(entry, config):
                if chosen.label in methods:
                    raise ConfigError(f"methods: {chosen.label} is listed more than once; give one another label")
                methods[chosen.label] = chosen
        except ConfigError as error:
            problems.append(str(error))
    columns = {N_TOKENS, *(column for chosen in methods.values() for column in chosen.columns.values())}
    by_cosine = config.select.near_duplicates and config.select.near_duplicates.cosine
    columns |= {REPRESENTATION} if by_cosine or config.select.diversity is not None else set()
    columns |= {TARGET_TOKENS} if config.select.tokens else set()
    routed = [label for label, chosen in methods.items() if any(map(_by_routers, chosen.columns.values()))]
    problems += _conflicts(config, methods)
    if routed and config.selector.upcycle is None and _is_dense(config.selector.model):
        problems.append(no_routers(config.selector.model, routed))
    if problems:
        raise ConfigError("\n".join(problems))
    runs = [
        Run(label, budget, seed)
        for label, chosen in methods.items()
        for budget in FIXED_BUDGETS.get(chosen.method.keeps, config.select.budgets())
        for seed in config.seeds
    ]
    return Plan(methods, columns, runs, routed)


def no_routers(model: str, routed: Sequence[str]) -> str:
    """Return the error for a selector without routers, with what to do about it."""
    return (
        f"selector.model: {model} has no routers, and {', '.join(routed)} need them: remove these, use a "
        "Mixture-of-Experts model such as OLMoE, or convert this one with "
        "selector.upcycle: {experts: 8, experts_per_token: 2, seed: 0}"
    )


def passes_of(columns: Iterable[Column]) -> list[tuple[str, str]]:
    """Return the passes that columns come from, sorted, each as its name and the state of the model that reads."""
    return sorted({(column.pass_name, column.state) for column in columns if column.pass_name not in UNREAD})


def files_of(
    columns: Iterable[Column],
    results: str,
    seed: int | str,
    epochs: int,
    targets: Sequence[str],
    of: str | None = None,
    external: str | None = None,
) -> dict[str, str | list[str]]:
    """Return the parquet file of each pass that columns come from, by `{pass}/{state}`: where the passes are stored.

    Of a state on a target these are as many as there are targets.

    Args:
        results: the folder of the experiment.
        seed: of the warm-up.
        epochs: of the warm-up.
        targets: their names.
        of: the target whose queries were read; None is the pool.
        external: the file of scores that a method names.
    """
    folder = results if of is None else f"{results}/targets/{of}"
    pool = f"{results}/data/pool.parquet" if of is None else f"{folder}/queries.parquet"
    own = {POOL: pool, WARMUP: f"{results}/warmup/seed-{seed}/examples.parquet", EXTERNAL: external}

    def file(pass_name: str, state: str, on: str = "") -> str:
        state = {"untrained": "epoch-0", "warmed": f"epoch-{epochs}"}.get(state, state)
        trained = f"seed-{seed}/{on}" if state.startswith(("epoch-", "lora-")) else ""
        return own.get(pass_name) or f"{folder}/passes/{trained}{state}/{pass_name}.parquet"

    return {
        f"{name}/{state}": [file(name, state.removesuffix(ON_TARGET), f"on-{target}/") for target in targets]
        if state.endswith(ON_TARGET)
        else file(name, state)
        for name, state in sorted({(column.pass_name, column.state) for column in columns})
    }


def _chosen(entry: MethodEntry, config: Config) -> list[Chosen]:
    if entry.method not in METHODS:
        near = difflib.get_close_matches(entry.method, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known methods: {', '.join(METHODS)}"
        raise ConfigError(f"methods: unknown method {entry.method}; {hint}")
    if entry.label in METHODS and entry.label != entry.method:
        raise ConfigError(f"methods: the label {entry.label} is the name of another method; choose a different label")
    declared = METHODS[entry.method]
    if declared.ranks and entry.reject not in ("select", None):
        raise ConfigError(f"methods.{entry.label}: reject does not apply to {entry.method}; remove it")
    parameters = parameters_of(declared, entry.parameters)
    columns = declared.columns(parameters)  # some refuse their parameters here
    reject = None if declared.ranks else config.select.reject if entry.reject == "select" else entry.reject
    targets = _targets_of(entry, declared, columns.values(), config)
    chosen = Chosen(entry.label, declared, parameters, reject, targets, queries=entry.queries, add=entry.add)
    if entry.targets != "each":
        return [chosen]
    return [chosen._replace(label=f"{entry.label}.{name}", targets=[name], each=entry.label) for name in targets]


def _targets_of(entry: MethodEntry, declared: Method, columns: Iterable[Column], config: Config) -> list[str]:
    """Return the targets whose queries an entry of `methods` reads, keeps or adds; none where it does not.

    Raises:
        ConfigError: it asks for queries that it has no use for, or for more or others than there are.
    """
    entry_name, keeps = f"methods.{entry.label}", declared.keeps == "queries"
    asked = {"targets": entry.targets != "all", "queries": entry.queries is not None}
    if not (declared.targeted or keeps or entry.add):
        if useless := [key for key, is_set in asked.items() if is_set]:
            raise ConfigError(f"{entry_name}: {useless[0]} does not apply to {entry.method}; remove it")
        return []
    if keeps and entry.add:
        raise ConfigError(f"{entry_name}: add does not apply to {entry.method}, which keeps the queries; remove it")
    if not config.targets:
        raise ConfigError(
            f"{entry_name}: {entry.method} selects for tasks, and `targets` names none; give some, such as "
            "targets: [{name: mine, path: examples.jsonl, queries: 32, heldout: 100}], or remove it"
        )
    if entry.queries and any(column.state.endswith(ON_TARGET) for column in columns):
        raise ConfigError(
            f"{entry_name}: queries does not apply to {entry.method}, whose warm-up trains on all queries; set "
            "`queries` of the target instead"
        )
    known = {target.name: target.queries for target in config.targets}
    targets = list(known) if isinstance(entry.targets, str) else entry.targets
    if unknown := sorted(set(targets) - set(known)):
        raise ConfigError(
            f"{entry_name}: targets: no target is called {', '.join(unknown)}; there are {', '.join(known)}"
        )
    for name in targets:
        if entry.queries and (there := known[name]) is not None and there < entry.queries:
            raise ConfigError(
                f"{entry_name}: queries: {entry.queries} is more than the {there} of {name}; lower it, or set "
                "`queries` of the target higher"
            )
    return targets


def _conflicts(config: Config, methods: Mapping[str, Chosen]) -> list[str]:
    """Return which settings of the configuration do not go together."""
    problems = []
    largest, top = max(config.select.ratio, default=0), config.select.drop_top
    rejects = {label: chosen.reject or 0 for label, chosen in methods.items() if chosen.method.keeps == "budget"}
    for reject in sorted(set(rejects.values())):
        left = 1 - top - reject
        if largest > left and not math.isclose(largest, left):
            labels = [label for label, share in rejects.items() if share == reject]
            asked = " and ".join(["`reject`"] * (reject > 0) + ["`drop_top`"] * (top > 0))
            problems.append(
                f"select.ratio: {largest:g} of the pool is more than the {max(left, 0):g} that {asked} leaves for "
                f"{', '.join(labels)}; keep less, drop less, or rank with `reject: null`"
            )
    kept = {name for source in config.data.sources for name in source.scores}
    for label, chosen in methods.items():
        brought = [column.name for column in chosen.columns.values() if column.name.startswith(BROUGHT)]
        if lacking := [name for name in (one.removeprefix(BROUGHT) for one in brought) if name not in kept]:
            problems.append(
                f"methods: {label} reads the score {', '.join(lacking)} of the rows, which no source keeps: name it in "
                "`scores` of a source, or name a file of scores, external: {path: scores.parquet}"
            )
        passes = {(column.pass_name, column.state) for column in chosen.columns.values()}
        if ("likelihood", "warmed") in passes and config.warmup.objective == "contrastive":
            problems.append(
                f"methods: {label} reads the loss after the warm-up, which warmup.objective: contrastive does not "
                f"change; use another objective, or remove {label}"
            )
        epochs = config.gradients.train.epochs
        tuned = {state.removesuffix(ON_TARGET) for _, state in passes if state.startswith("lora-")}
        if late := [state for state in tuned if int(state.removeprefix("lora-")) > epochs]:
            problems.append(
                f"methods: {label} reads {', '.join(sorted(late))}, but gradients.train.epochs is {epochs}: train more "
                "epochs, or name earlier ones in its parameters"
            )
        if ("reward", "reward") in passes and config.reward.model in (None, EMBEDDED, SMOLLM2):
            problems.append(
                f"reward.model: {config.reward.model or 'null'} is no reward model, but {label} reads one; name a "
                f"directory or a model on the hub, or remove {label}"
            )
        if (WARMUP, "warmed") in passes and config.warmup.examples is None:
            problems.append(
                f"warmup.examples: null trains on the whole pool, but {label} scores only examples that the warm-up "
                f"did not train on; give a number, or remove {label}"
            )
    return problems


def _by_routers(column: Column) -> bool:
    return column.pass_name in NEED_ROUTERS or column.state.removesuffix(ON_TARGET) in ("untrained", "warmed")


def _is_dense(model: str) -> bool:
    """Return whether a selector is known to have no experts; of a model on the hub nothing is known before loading."""
    if model in (EMBEDDED, SMOLLM2):
        return model == SMOLLM2
    try:
        with open(f"{model}/config.json", encoding="utf-8", errors="replace") as file:
            return "expert" not in file.read()  # num_experts, num_local_experts, n_routed_experts, …
    except (OSError, ValueError):  # not a directory here, or no valid path at all
        return False


def jobs_of(chosen: Chosen, epochs: int, shards: int) -> list[str]:
    """Return the jobs that the scores of a method wait for: the paths of their records in `benchmarks`.

    Of a pass it is a pattern, for the records of its shards: those of this number, and none that an earlier run left.

    Args:
        epochs: of the warm-up.
        shards: of a pass over the pool.
    """
    jobs = {f"scores/{chosen.label}/seed-{{seed}}"}
    read = [column for column in (*chosen.columns.values(), N_TOKENS) if column.pass_name not in UNREAD]
    for paths in files_of(read, "", "{seed}", epochs, chosen.targets).values():
        for path in [paths] if isinstance(paths, str) else paths:
            name = path.removeprefix("/").removesuffix(".parquet")
            state = name.removeprefix("passes/").rpartition("/")[0]
            jobs.add(f"{name}/*-of-{shards}")
            if "/lora-" in state:
                jobs.add(f"gradients/{state.rpartition('-')[0]}")
            elif "/epoch-" in state and not state.endswith("/epoch-0"):
                warmup = f"warmup/{state.rpartition('-')[0]}"
                jobs |= {f"{warmup}-{epoch}" for epoch in range(1, epochs + 1)}
    return sorted(jobs)


def describe(chosen: Chosen, epochs: int, shards: int) -> dict[str, Any]:
    """Return what the report shows of a method: label, declared name, caption, source, parameters, and its jobs."""
    declared = chosen.method
    return {
        "label": chosen.label,
        "method": declared.name,
        "caption": declared.caption,
        "source": declared.source,
        "keeps": declared.keeps,
        "targets": chosen.targets,
        "each": chosen.each,
        "queries": chosen.queries,
        "add": chosen.add,
        "jobs": jobs_of(chosen, epochs, shards),
        "parameters": chosen.parameters.model_dump(mode="json"),
    }
