from pathlib import Path

import pytest
import yaml

from moesift.methods import METHODS, Column, method
from moesift.reference import reference

CONFIG = Path(__file__).parents[1] / "config"


@pytest.fixture
def page():
    return reference(yaml.safe_load((CONFIG / "config.yaml").read_text()))


def test_the_page_in_the_repository_is_up_to_date(page):
    is_up_to_date = (CONFIG / "README.md").read_text() == page
    assert is_up_to_date, "run `make docs` after a change of the configuration or of a method"


@pytest.mark.parametrize(
    "row",
    [
        "| `examples` | whole number or `null` | `2000` | examples of the pool that the routers train on",
        "| `sources` | list of mapping | see the file | ",
        "| `quota` | `proportional` or `equal` or mapping or `null` | `null` | ",
        "| `experts` | whole number | required | ",
        "| `router_untrained` | the same before the warm-up | routing (untrained) | "
        '`layers: "all"`, `tokens: "response"` | control of router |',
        "| `ifd` | instruction-following difficulty, NLL(y \\| x) / NLL(y); none at 1 or more | ",
    ],
)
def test_keys_and_methods_are_rows(page, row):
    assert any(line.startswith(row) for line in page.splitlines())


def test_a_declared_method_is_on_the_page_without_another_edit():
    try:

        @method(reads={"nll": Column("likelihood", "nll", "target")}, caption="a try", source="this test")
        def just_declared(nll, *, power: float = 2.0):
            return -(nll**power)

        page = reference(yaml.safe_load((CONFIG / "config.yaml").read_text()))
    finally:
        METHODS.pop("just_declared", None)
    assert "| `just_declared` | a try | likelihood (target) | `power: 2.0` | this test |\n" in page
