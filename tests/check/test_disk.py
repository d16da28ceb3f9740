import dataclasses

import pytest
from given.costs import DENSE, MOE, POOL, configured
from given.plans import DEFAULT

from moesift.check.disk import written
from moesift.plan import planned
from moesift.training.accelerate_file import Held


def sizes(config):
    return written(config, planned(config), MOE, DENSE, POOL)


def test_what_is_written():
    config = configured(
        selector={"model": "some/moe"},
        target={"model": "some/dense"},
        warmup={"epochs": 3},
        select={"ratio": [0.1], "tokens": [1000]},
        train={"lora_rank": 2},
        data={"heldout": 50},
    )
    routers = 4 * 8 * 10 + 4 * 2 * 10  # of 8 experts and 2 trash cans in 4 layers of width 10
    lora = 2 * 20 * 4
    assert sizes(config) == {
        "pool and held-out examples": 1050 * 200,
        "frozen weights of the warm-up, shared by its epochs": 2 * 10000,
        "routers and optimizer of all epochs": 2 * (4 + 3 * 12) * routers,
        "pass likelihood, selector": 1000 * (20 + 3 * 8 + 128 * 4),
        "pass routing, warmed": 2 * 1000 * (20 + 2 * 4 * 8),  # log odds twice, in 4 layers
        "pass tokens, selector": 1000 * 28,
        "pass tokens, target": 1000 * 28,
        "scores": 4 * 1000 * 36,
        "selections": pytest.approx(4 * (100 + 200) * 220),
        "adapters": 8 * 4 * lora,
        "states of a running training": 3 * 12 * lora,
    }


def test_projected_gradients_and_the_checkpoints_that_they_are_read_of():
    train = DEFAULT["gradients"]["train"] | {"epochs": 3, "lora_rank": 2}
    targets = [{"name": "mine", "wheel": "piqa", "queries": 4, "heldout": 4}]
    config = configured(methods=["gist"], targets=targets, gradients={"dimension": 64, "train": train})
    found = written(config, planned(config), dataclasses.replace(MOE, lora=DENSE.lora), DENSE, POOL)
    assert found["pass gradients, lora-1"] == 2 * 1000 * (20 + 2 * 64 * 2 + 8)
    assert found["LoRA checkpoints of the selector"] == 3 * 2 * 3 * 4 * (2 * 20 * 4)


def test_a_full_training_leaves_models_and_states_only_where_it_can_be_resumed():
    config = configured(train={"method": "full"})
    found = sizes(config)
    assert (found["tuned models"], found["states of a running training"]) == (4 * 4 * 3000, 3 * 3 * 4 * 3000)
    assert "adapters" not in found
    spread = written(config, planned(config), MOE, DENSE, POOL, Held(resumes=False))
    assert spread["states of a running training"] == 0


def test_models_that_are_made_here_count_and_a_contrast_trains_trash_cans_alone():
    found = sizes(configured(warmup={"objective": "contrastive", "epochs": 1}))
    assert (found["selector"], found["target"]) == (10000, 6000)
    assert found["routers and optimizer of all epochs"] == 2 * (2 * 4 * 400 + 8 * 80)


def test_only_states_that_are_read_are_written():
    assert not [what for what in sizes(configured(methods=["nll", "random"])) if "epoch" in what]
    first = sizes(configured(methods=["router_untrained"]))["routers and optimizer of all epochs"]
    assert first == 2 * 4 * 400  # epoch 0 of each seed


def test_representations_are_as_wide_as_the_model_and_router_logits_as_it_has_experts():
    given = [{"name": "mine", "hub": "some/set", "queries": 8, "heldout": 0}]
    found = sizes(configured(methods=["moee", "rds_middle"], targets=given))
    assert found["pass representation, selector"] == 1000 * (20 + 3 * 10 * 2)
    assert found["pass representation_middle, selector"] == 1000 * (20 + 3 * 10 * 2)
    assert found["pass router_logits, selector"] == 1000 * (20 + 2 * 4 * 8 * 4)
