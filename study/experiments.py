"""What a study is made of: ordinary experiments, each a configuration of the workflow."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from snakemake.utils import update_config

from moesift.config import Corruption
from moesift.fields import ConfigError, MethodEntry, Name, Section, Seed, Unique
from moesift.methods import METHODS

RANDOM = "random"  # the method that training is compared with
Names = Annotated[list[Name], Field(min_length=1), Unique]
Kinds = Annotated[list[Corruption], Field(min_length=1), Unique]


class Claim(Section):
    """What the study is to show, written down before it is run."""

    method: Name = Field(description="the method that is claimed to separate better")
    against: Names = Field(description="than the best of these")
    kinds: Kinds = Field(description="on each of these kinds of corruption")


class CorruptionStudy(Section):
    """Which methods find corrupted examples, and whether training on what they keep beats a random part.

    There is one experiment for each seed and each half of the kinds of corruption. Its pool is corrupted by the kinds
    of its half; its contrastive warm-up learns from the kinds of the other halves, so that routers are judged on kinds
    that they were not trained on. A seed changes the pool, its corruption, the embedded models and the warm-up.
    """

    kind: Literal["corruption"]
    name: Name = Field(description="first part of the experiments' names, and the folder of the comparison")
    seeds: Annotated[list[Seed], Field(min_length=1), Unique] = Field(description="the comparison is over these")
    halves: Annotated[list[Kinds], Field(min_length=2)] = Field(description="the kinds of corruption, parted")
    control: Corruption = Field(description="a kind in every pool that leaves the response as good as it was")
    sanity: list[Corruption] = Field(description="kinds that any score should find; no mean over kinds has them")
    baselines: Names = Field(description="methods of which a method should beat the best")
    claim: Claim
    settings: dict[str, Any] = Field(description="of every experiment, merged over config/config.yaml")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        kinds = [kind for half in self.halves for kind in half]
        if repeated := sorted({kind for kind in [*kinds, self.control] if [*kinds, self.control].count(kind) > 1}):
            raise ValueError(f"halves: {', '.join(repeated)} is listed more than once; a kind is in one half only")
        if unknown := sorted({*self.sanity, *self.claim.kinds} - set(kinds)):
            raise ValueError(f"halves: {', '.join(unknown)} of sanity or of the claim is in no half")
        labels = {entry.label for entry in self.methods()}
        if missing := sorted({RANDOM, *self.baselines, self.claim.method, *self.claim.against} - labels):
            raise ValueError(f"settings.methods: lacks {', '.join(missing)}, which the comparison needs")
        return self

    def methods(self) -> list[MethodEntry]:
        """Return the methods of the experiments."""
        return entries_of(self.settings)

    def scores(self) -> list[str]:
        """Return the labels of methods that score quality: not of baselines like `full`, nor of filters by another."""
        return [one.label for one in self.methods() if not METHODS[one.method].ranks and one.reject == "select"]

    def left_out(self) -> set[str]:
        """Return the kinds that no mean over kinds has."""
        return {self.control, *self.sanity}

    def experiments(self, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the configuration of each experiment, those of one seed next to each other.

        Args:
            defaults: the content of config/config.yaml.
        """
        return [
            merged(
                defaults,
                self.settings,
                {
                    "experiment": f"{self.name}-half-{place}-seed-{seed}",
                    "seeds": [seed],
                    "data": {"corruptions": [*half, self.control], "seed": seed},
                    "embedded": {"seed": seed},
                    "warmup": {"negatives": [kind for other in self.halves if other != half for kind in other]},
                },
            )
            for seed in self.seeds
            for place, half in enumerate(self.halves)
        ]


class Pool(Section):
    """Which of the sources a pool is of, and which of the targets something is selected for from it."""

    sources: Names
    targets: Names


class TargetClaim(Section):
    """What the study is to show, written down before it is run: the mean over targets is below that of random."""

    method: Name
    setting: Literal["present", "absent"]
    budget: str = Field(description="as in paths, such as tokens-0.05")


class TargetStudy(Section):
    """Whether targeted selection beats random, for each target with its own source in the pool, and without it.

    There is one experiment for each seed and pool. A target of a pool is *present* where a source has its name, and
    *absent* otherwise. A seed changes what is drawn from the sources and the targets, the LoRA matrices and the order
    of training; the models are the same.
    """

    kind: Literal["targets"]
    name: Name = Field(description="first part of the experiments' names, and the folder of the comparison")
    seeds: Annotated[list[Seed], Field(min_length=1), Unique] = Field(description="the comparison is over these")
    pools: Annotated[dict[Name, Pool], Field(min_length=1, description="null leaves out one of a file before")]
    draws: int = Field(ge=1, description="of each method in `drawn`, whose losses are averaged")
    drawn: Names = Field(description="labels of methods that are decided by a draw")
    claim: TargetClaim
    pairs: list[tuple[Name, Name]] = Field([], description="methods that are compared with each other, not with random")
    settings: dict[str, Any] = Field(description="of every experiment, merged over config/config.yaml")

    @field_validator("pools", mode="before")
    @classmethod
    def _asked(cls, pools: Any) -> Any:
        return {name: pool for name, pool in pools.items() if pool is not None} if isinstance(pools, dict) else pools

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for key, known in (("sources", self.settings["data"]["sources"]), ("targets", self.settings["targets"])):
            asked = {name for pool in self.pools.values() for name in getattr(pool, key)}
            if unknown := sorted(asked - {one["name"] for one in known}):
                raise ValueError(f"pools: {', '.join(unknown)} is none of the {key} in settings")
        labels = {entry.label for entry in entries_of(self.settings)}
        needed = {RANDOM, self.claim.method, *self.drawn, *(name for pair in self.pairs for name in pair)}
        if missing := sorted(needed - labels):
            raise ValueError(f"settings.methods: lacks {', '.join(missing)}, which the comparison needs")
        return self

    def experiments(self, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the configuration of each experiment, those of one seed next to each other.

        Args:
            defaults: the content of config/config.yaml.
        """
        entries = entries_of(self.settings)
        redrawn = [
            entry.model_copy(
                update={"label": f"{entry.label}_{draw}", "parameters": {**entry.parameters, "draw": draw}}
            )
            for entry in entries
            for draw in range(1, self.draws)
            if entry.label in self.drawn
        ]
        return [
            merged(
                defaults,
                self.settings,
                {
                    "experiment": f"{self.name}-{name}-seed-{seed}",
                    "seeds": [seed],
                    "methods": [entry.model_dump(mode="json") for entry in [*entries, *redrawn]],
                    "data": {"sources": _named(self.settings["data"]["sources"], pool.sources), "seed": seed},
                    "targets": _named(self.settings["targets"], pool.targets),
                },
            )
            for seed in self.seeds
            for name, pool in self.pools.items()
        ]


Study = CorruptionStudy | TargetStudy


def read_study(raw: Mapping[str, Any]) -> Study:
    """Return a study from its configuration file.

    Raises:
        ConfigError: one line per error, each with the path of the key.
    """
    kinds = {"corruption": CorruptionStudy, "targets": TargetStudy}
    if (kind := raw.get("kind")) not in kinds:
        raise ConfigError(f"kind: {kind}: name the file of a study by --configfile, such as study/corruption.yaml")
    try:
        return kinds[kind].model_validate(dict(raw))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def entries_of(settings: Mapping[str, Any]) -> list[MethodEntry]:
    """Return the methods that settings ask for."""
    return [MethodEntry.model_validate(entry) for entry in settings.get("methods") or []]


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings merged as Snakemake merges configuration files: by key, the later wins; a list is replaced."""
    result: dict[str, Any] = {}
    for one in settings:
        update_config(result, deepcopy(dict(one)))
    return result


def _named(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if entry["name"] in names]
