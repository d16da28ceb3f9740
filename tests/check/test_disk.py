import pytest
from given.costs import DENSE, MOE, POOL, ROOT, configured

from moesift.check.disk import written
from moesift.plan import planned


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def sizes(config):
    return {
        f"{row.stage}: {row.what}": (row.files, row.bytes) for row in written(config, planned(config), MOE, DENSE, POOL)
    }


def test_what_each_stage_writes():
    config = configured(
        selector={"model": "some/moe"},
        target={"model": "some/dense"},
        warmup={"epochs": 3},
        train={"lora_rank": 2},
        data={"heldout": 50},
    )
    routers = 4 * 8 * 10 + 4 * 2 * 10  # of 8 experts and 2 trash cans in 4 layers of width 10
    lora = 2 * 20 * 4
    assert sizes(config) == {
        "prepare: pool and held-out examples": (1, 1050 * 200),
        "warm up: frozen weights, shared by the epochs of a seed": (2, 10000),
        "warm up: routers and optimizer of each epoch": (2 * 4, 12 * routers),
        "score: likelihood, selector": (1, 1000 * (40 + 3 * 8 + 128 * 4)),
        "score: routing, warmed": (2, 1000 * (40 + 2 * 4 * 8 + 4 * 8 * 4)),  # log odds twice, and shares of 8 experts
        "score: tokens, selector": (1, 1000 * 48),
        "score: scores of each method": (4, 1000 * 48),
        "select: ratio-0.1": (4, 100 * 240),
        "train: adapters": (4, 4 * lora),
        "train: states of a running training": (3, 12 * lora),
    }


def test_models_that_are_made_here_count_and_a_contrast_trains_trash_cans_alone():
    found = sizes(configured(warmup={"objective": "contrastive"}))
    assert (found["models: selector"], found["models: target"]) == ((1, 10000), (1, 6000))
    assert found["warm up: routers and optimizer of each epoch"][1] == 4 * 400 + 8 * 80


def test_without_a_method_of_routers_there_is_no_warm_up():
    assert not [what for what in sizes(configured(methods=["nll", "random"])) if what.startswith("warm up")]
    first = sizes(configured(methods=["router_untrained"]))["warm up: routers and optimizer of each epoch"]
    assert first[0] == 2  # epoch 0 of each seed
