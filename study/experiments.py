"""What a study is made of: ordinary experiments, each a configuration of the workflow."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
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
        return [MethodEntry.model_validate(entry) for entry in self.settings.get("methods") or []]

    def scores(self) -> list[str]:
        """Return the labels of methods that score quality: not of baselines like `full`, nor of filters by another."""
        return [one.label for one in self.methods() if not METHODS[one.method].ranks and one.reject == "select"]

    def left_out(self) -> set[str]:
        """Return the kinds that no mean over kinds has."""
        return {self.control, *self.sanity}


def corruption_study(raw: Mapping[str, Any]) -> CorruptionStudy:
    """Return a study from its configuration file.

    Raises:
        ConfigError: one line per error, each with the path of the key.
    """
    try:
        return CorruptionStudy.model_validate(dict(raw))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def experiments(study: CorruptionStudy, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the configuration of each experiment, those of one seed next to each other.

    Args:
        study: what to run.
        defaults: the content of config/config.yaml.
    """
    return [
        merged(
            defaults,
            study.settings,
            {
                "experiment": f"{study.name}-half-{place}-seed-{seed}",
                "seeds": [seed],
                "data": {"corruptions": [*half, study.control], "seed": seed},
                "embedded": {"seed": seed},
                "warmup": {"negatives": [kind for other in study.halves if other != half for kind in other]},
            },
        )
        for seed in study.seeds
        for place, half in enumerate(study.halves)
    ]


def merged(*settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings merged as Snakemake merges configuration files: by key, the later wins; a list is replaced."""
    result: dict[str, Any] = {}
    for one in settings:
        update_config(result, deepcopy(dict(one)))
    return result
