from pathlib import Path

import yaml

from moesift.reference import reference

CONFIG = Path(__file__).parents[1] / "config"


def test_the_page_in_the_repository_is_up_to_date():
    page = reference(yaml.safe_load((CONFIG / "config.yaml").read_text()))
    is_up_to_date = (CONFIG / "README.md").read_text() == page
    assert is_up_to_date, "run `make docs` after a change of the configuration or of a method"
