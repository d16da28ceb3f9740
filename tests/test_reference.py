import re
from pathlib import Path

import yaml

from moesift.config import Section
from moesift.reference import reference

CONFIG = Path(__file__).parents[1] / "config"


def test_the_page_of_keys_is_that_of_the_model():
    """Run `make docs` after a change of the configuration."""
    page = reference(yaml.safe_load((CONFIG / "config.yaml").read_text()))
    assert (CONFIG / "README.md").read_text() == page


def test_every_key_is_on_the_page():
    page = (CONFIG / "README.md").read_text()
    keys = [name for section in sections(Section) for name in section.model_fields]
    assert not [name for name in keys if not re.search(rf"^(\| `([a-z_]+\.)*|\n?## ){name}\b", page, flags=re.M)]


def sections(kind):
    """Every section that the configuration may have."""
    return [one for sub in kind.__subclasses__() for one in (sub, *sections(sub))]


def test_a_key_is_shown_with_its_type_default_and_meaning():
    page = (CONFIG / "README.md").read_text()
    assert (
        "| `warmup.examples` | whole number or `null` | `2000` | examples of the pool that the routers train on" in page
    )
    assert "None" not in page
