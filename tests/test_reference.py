from pathlib import Path

import yaml

from moesift.reference import reference

CONFIG = Path(__file__).parents[1] / "config"


def test_the_page_of_keys_is_that_of_the_model():
    """Run `make docs` after a change of the configuration."""
    page = reference(yaml.safe_load((CONFIG / "config.yaml").read_text()))
    assert (CONFIG / "README.md").read_text() == page


def test_a_key_is_shown_with_its_type_default_and_meaning():
    page = (CONFIG / "README.md").read_text()
    assert (
        "| `warmup.examples` | whole number or `null` | `2000` | examples of the pool that the routers train on" in page
    )
    assert "None" not in page
