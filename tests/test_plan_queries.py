"""Whose queries an entry of `methods` reads, keeps or adds."""

import pytest
from given.plans import TARGETS, plan_of, refused

from moesift.methods import METHODS, Column, method


def test_a_method_reads_the_queries_of_all_targets_of_some_or_of_each(declared):
    two = [*TARGETS, {"name": "other", "wheel": "csqa", "heldout": 0}]
    entries = [
        "near",
        {
            "one": {"method": "near", "targets": ["other"]},
        },
        {"own": {"method": "near", "targets": "each"}},
    ]
    plan = plan_of(entries, targets=two, select={"ratio": 0.1})
    assert {label: chosen.targets for label, chosen in plan.methods.items()} == {
        "near": ["mine", "other"],
        "one": ["other"],
        "own.mine": ["mine"],
        "own.other": ["other"],
    }
    assert [run.method for run in plan.runs] == ["near", "one", "own.mine", "own.other"]
    assert plan.methods["near"].reject is None  # the filter is for scores of quality
    (said,) = refused([{"near": {"targets": ["nobody"]}}], targets=two)
    assert said == "methods.near: targets: no target is called nobody; there are mine, other"
    (said,) = refused([{"nll": {"targets": "each"}}], targets=two)
    assert said == "methods.nll: targets does not apply to nll; remove it"
    (said,) = refused([{"nll": {"queries": 8}}], targets=two)
    assert said == "methods.nll: queries does not apply to nll; remove it"
    (said,) = refused([{"near": {"queries": 0}}], targets=two)
    assert said.startswith("methods.0.queries: 0 is refused")
    (said,) = refused([{"near": {"queries": 9, "targets": "each"}}], targets=[TARGETS[0] | {"queries": 8}])
    assert said.startswith("methods.near: queries: 9 is more than the 8 of mine")
    (said,) = refused([{"moore_lewis": {"queries": 4}}], targets=two)
    assert said.startswith("methods.moore_lewis: queries does not apply to moore_lewis, whose warm-up")
    some = plan_of([{"near": {"queries": 4, "targets": "each"}}], targets=two).methods
    assert {label: chosen.queries for label, chosen in some.items()} == {"near.mine": 4, "near.other": 4}
    (said,) = refused(["near"])
    assert said.startswith("methods.near: near selects for tasks, and `targets` names none")


def test_queries_are_added_to_what_any_method_selects(declared):
    two = [*TARGETS, {"name": "other", "wheel": "csqa", "heldout": 0}]
    own = {"own": {"method": "random", "add": "queries", "targets": "each", "queries": 2}}
    plan = plan_of([{"random": {"add": "queries"}}, own, "nll"], targets=two).methods
    assert {label: (one.targets, one.add, one.queries, one.each) for label, one in plan.items()} == {
        "random": (["mine", "other"], "queries", None, None),
        "own.mine": (["mine"], "queries", 2, "own"),
        "own.other": (["other"], "queries", 2, "own"),
        "nll": ([], None, None, None),
    }
    (said,) = refused([{"queries_only": {"add": "queries"}}], targets=two)
    assert said == "methods.queries_only: add does not apply to queries_only, which keeps the queries; remove it"
    (said,) = refused([{"random": {"add": "queries"}}])
    assert "`targets` names none" in said
    (said,) = refused([{"random": {"add": "everything"}}], targets=two)
    assert said.startswith("methods.0.add: everything is refused")


@pytest.fixture
def declared():
    """A targeted method of the test's own."""

    @method(targeted=True, reads={"hidden": Column("likelihood", "hidden")}, caption="", source="")
    def near(pool, queries):
        yield from ()

    yield near
    del METHODS["near"]
