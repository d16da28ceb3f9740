"""Plans of the default configuration with other methods and sections, and what is said of those that cannot be."""

import copy
from pathlib import Path

import pytest
import yaml

from moesift.fields import ConfigError
from moesift.plan import planned
from moesift.validation import validated

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
TARGETS = [{"name": "mine", "wheel": "piqa", "queries": 4, "heldout": 4}]


def changed(raw, sections):
    """Return a configuration with the keys of some sections, or whole ones that are no mapping, in place of its own."""
    new = {name: raw[name] | values if isinstance(values, dict) else values for name, values in sections.items()}
    return copy.deepcopy(raw) | new


def plan_of(methods, **sections):
    return planned(validated(changed(DEFAULT, sections) | {"methods": methods}))


def refused(methods, **sections) -> list[str]:
    with pytest.raises(ConfigError) as error:
        plan_of(methods, **sections)
    return str(error.value).splitlines()
