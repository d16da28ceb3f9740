import pytest
from given.costs import DENSE, MOE, POOL, ROOT, configured

from moesift.report.disk import written


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_what_each_stage_writes():
    config = configured(
        selector={"model": "some/moe"},
        target={"model": "some/dense"},
        warmup={"epochs": 3},
        select={"ratio": [0.1]},
        train={"lora_rank": 2},
        data={"heldout": 50},
        evaluate={"tasks": [{"name": "mmlu"}]},
    )
    found = [(item.stage, item.what, item.times, item.bytes) for item in written(config, MOE, DENSE, POOL)]
    routers = 4 * 8 * 10 + 4 * 2 * 10  # of 8 experts and 2 trash cans in 4 layers of width 10
    lora = 2 * 20 * 4
    assert found == [
        ("prepare", "pool and held-out examples", 1, 1050 * 200),
        ("warm up", "frozen weights, shared by the epochs of a seed", 2, 10000),
        ("warm up", "routers and optimizer of each epoch", 2 * 4, 12 * routers),
        ("warm up", "states of a running epoch", 2, 36 * routers),
        ("score", "nats with selector, and its shards", 1, 2 * 1000 * 48),
        ("score", "signals with last, and its shards", 2, 2 * 1000 * (40 + 8 * 4)),
        ("score", "scores of each method", 4, 1000 * (48 + 8 * 4)),
        ("select", "0.1 of the pool", 4, 100 * 240),
        ("train", "adapters", 4, 4 * lora),
        ("train", "states of a running training", 1, 36 * lora),
        ("evaluate", "questions and held-out losses", 5, 60 * (2 * 100 + 2 * 50)),
    ]


def test_a_contrast_trains_the_trash_cans_alone_and_models_made_here_count():
    config = configured(warmup={"objective": "contrastive"}, methods=["router"])
    sizes = {item.what: item.bytes for item in written(config, MOE, DENSE, POOL)}
    assert sizes["routers and optimizer of each epoch"] == 4 * 400 + 8 * 80
    assert (sizes["selector, made here"], sizes["target, made here"]) == (10000, 6000)


def test_what_is_wide_counts_by_its_width():
    config = configured(methods=["typical_inputs"], select={"ratio": [0.1], "diversity": 2})
    sizes = {item.what: item.bytes for item in written(config, MOE, DENSE, POOL)}
    assert sizes["usage with last, and its shards"] == 2 * 1000 * (40 + 4 * 4 * 8)  # 8 experts in 4 layers
    assert sizes["sketch with selector, and its shards"] == 2 * 1000 * (40 + 4 * 128)


def test_without_a_method_of_the_routers_there_is_no_warm_up():
    stages = {item.stage for item in written(configured(methods=["nll", "random"]), MOE, DENSE, POOL)}
    assert "warm up" not in stages
