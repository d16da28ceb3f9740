import dataclasses

import pytest
import torch
import transformers
from given.costs import DENSE, MOE, POOL, configured
from given.plans import DEFAULT
from transformers import AutoModelForCausalLM

from moesift.check.costs import (
    IN_FULL,
    Cost,
    activations,
    costs,
    lora_parameters,
    router_parameters,
    selections,
    share_of,
)
from moesift.errors import UserError
from moesift.models.adapters import add_lora
from moesift.models.lora_weights import LoraWeight, lora_weights
from moesift.models.routers import TrashCan, freeze_all_but
from moesift.models.shapes import shape_of
from moesift.plan import planned
from moesift.training.accelerate_file import Held

DENSE_FULL = dataclasses.replace(DENSE, lora=())
TARGETS = [{"name": "mine", "wheel": "piqa", "queries": 4, "heldout": 4}]


def counted(config, questions=None):
    """Stage, what, runs, tokens a run and operations a token of each cost."""
    rows = costs(config, planned(config), MOE, DENSE, POOL, questions or {})
    return [(row.stage, row.what, row.runs, round(row.tokens), row.operations) for row in rows]


def test_the_work_of_every_stage():
    config = configured(
        methods=["router", "nll", "full"],
        warmup={"examples": 300, "epochs": 2},
        select={"ratio": [0.1], "tokens": [500], "reject": None},
        train={"epochs": 3},
        data={"heldout": 40},
        evaluate={"tasks": [{"name": "mmlu", "fewshot": 5}, {"name": "elsewhere"}]},
    )
    assert counted(config, {"mmlu": 100}) == [
        ("warm up", "2 epochs", 2, 2 * 300 * 20, 4 * 1500),
        ("score", "likelihood, selector", 1, 1000 * 20, 2 * 2 * 1500),
        ("score", "routing, warmed", 2, 1000 * 20, 2 * 1000),  # no head
        ("train", "ratio-0.1", 4, 3 * 100 * 25, 4 * 2500),
        ("train", "tokens-500", 4, 3 * 100 * 25, 4 * 2500),  # 500 of 5,000 response tokens
        ("train", "ratio-1", 2, 3 * 1000 * 25, 4 * 2500),
        ("evaluate", "held-out loss", 11, 40 * 25, 2 * 2500),
        ("evaluate", "mmlu, roughly", 11, 100 * 150 * 6, 2 * 2500),
    ]


def test_a_selection_costs_what_its_method_reads_for_one_seed():
    config = configured(
        methods=["router", "nll", {"rds": {"targets": "each"}}, "gist", "full", "queries_only"],
        targets=[*TARGETS, TARGETS[0] | {"name": "other"}],
        warmup={"examples": 300, "epochs": 2},
        train={"epochs": 3},
    )
    plan = planned(config)
    found = {one.method: one[1:] for one in selections(config, plan, MOE, DENSE, POOL)}
    part, whole = 3 * 100 * 25 * 4 * 2500, 3 * 1000 * 25 * 4 * 2500
    assert {name: [round(each) for each in one] for name, one in found.items()} == {
        "router": [2 * 300 * 20 * 4 * 1500 + 1000 * 20 * 2 * 1000, part, whole],
        "nll": [1000 * 20 * 4 * 1500, part, whole],
        "rds": [1000 * 20 * 2 * 1000, part, whole],
        "gist": [4 * 50 * 20 * 4 * 1500 + 1000 * 20 * 4 * 1500, part, whole],
        "full": [0, whole, whole],
        "queries_only": [0, 0, whole],
    }


def test_a_contrast_reads_pairs_without_head_and_backward_pass():
    lm, contrast = (counted(configured(warmup={"objective": name}))[0] for name in ("lm", "contrastive"))
    assert lm[3:] == (2 * 1000 * 20, 4 * 1500)  # the pool has fewer than the 2,000 examples that are asked for
    assert contrast[3:] == (2 * lm[3], 2 * 1000)


def test_gradients_are_read_after_a_warm_up_of_the_selector():
    train = DEFAULT["gradients"]["train"] | {"epochs": 3, "lora_rank": 2}
    config = configured(methods=["gist"], targets=TARGETS, gradients={"share": 0.1, "train": train})
    first, second, *_ = costs(config, planned(config), dataclasses.replace(MOE, lora=DENSE.lora), DENSE, POOL, {})
    assert first[:5] == ("warm up", "LoRA, 3 epochs", 2, pytest.approx(3 * 100 * 20), 4 * 1500)
    assert second[:5] == ("score", "gradients, lora-1", 2, 1000 * 20, 4 * 1500)
    assert first.memory - second.memory > 16 * 160


def test_hours():
    """90 million operations at a million a second are 90 seconds."""
    assert Cost("train", "", runs=9, tokens=2000, operations=5000, memory=0).hours(tflops=1e-6) == pytest.approx(0.025)


def test_memory():
    settings = {"data": {"max_length": 100}, "train": {"lora_rank": 2}}
    config = configured(**settings, throughput={"micro_batch": 3})
    memory = {row.stage: row.memory for row in costs(config, planned(config), MOE, DENSE, POOL, {})}
    # In bf16 an output for each 10 parameters, two experts' of 10 in 4 layers; in float32 norms and routers' inputs.
    warming = 2 * (100 + 4 * 20) + 4 * (40 + 40)
    assert memory["warm up"] == 10000 + 16 * (320 + 80) + 300 * warming
    assert (memory["score"], memory["evaluate"]) == (10000, 6000)
    # The same of a dense model, with the inputs of four LoRA matrices; 14 bytes for each of 50 logits; copies in bf16.
    training = 2 * (200 + 40) + 4 * 40 + 14 * 50
    assert memory["train"] == 6000 + 4000 + 16 * 160 + 300 * training
    again = configured(**settings, throughput={"micro_batch": 3, "activations": "recompute"})
    (first, *_) = costs(again, planned(again), MOE, DENSE, POOL, {})
    assert first.memory == 10000 + 16 * 400 + 300 * (2 * 10 * 4 + warming / 4)


def test_a_full_training_computes_and_holds_more():
    settings = {"data": {"max_length": 100}, "throughput": {"micro_batch": 3}}
    config = configured(**settings, train={"method": "full", "lora_rank": 999})
    (row,) = (row for row in costs(config, planned(config), MOE, DENSE_FULL, POOL, {}) if row.stage == "train")
    assert row.operations == 6 * 2500
    kept = 300 * (1.85 * (2 * 200 + 4 * 40) + 14 * 50)
    assert row.memory == 16 * 3000 + 4000 + kept  # the weights are in the 16 bytes; copies in bf16
    spread = Held(weights=0.25, parameter=4.0, resumes=False)
    row = next(row for row in costs(config, planned(config), MOE, DENSE_FULL, POOL, {}, spread) if row.stage == "train")
    assert row.memory == 4 * 3000 + 1000 + kept


def test_trash_can_experts_are_rows_of_the_routers():
    assert router_parameters(configured(), MOE) == (4 * 8 * 10, 4 * 2 * 10)  # a quarter of 8
    assert router_parameters(configured(warmup={"expert_role": "partition"}), MOE) == (320, 0)
    with pytest.raises(UserError, match=r"warmup.trash_ratio: 0.1 of 8 experts makes 0"):
        router_parameters(configured(warmup={"expert_role": "partition", "trash_ratio": 0.1}), MOE)


def test_budgets_as_shares_of_the_pool():
    budgets = ("ratio-0.5", "tokens-0.05", "tokens-500", "tokens-1000000")
    assert [share_of(budget, POOL) for budget in budgets] == [0.5, 0.05, 0.1, 1]


class Kept:
    """Bytes of the tensors that autograd keeps, each storage once, without parameters and buffers."""

    def __init__(self, model):
        weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self.tensors = {}

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() not in weights:
                self.tensors[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
            return tensor

        self.hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)

    def per_token(self, tokens):
        return sum(tensor.untyped_storage().nbytes() for tensor in self.tensors.values()) / tokens


def deep(family, **settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=64, hidden_size=128, num_hidden_layers=12, num_attention_heads=4, **settings
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


IDS = torch.arange(512).remainder(64).view(2, 256)


def test_lora_of_experts_and_the_weights_that_it_is_added_to():
    config, experts = configured(), LoraWeight("experts", "down_proj", 6, 10, experts=8, beside=False)
    tuned = dataclasses.replace(DENSE, lora=(experts,))
    assert lora_parameters(16, tuned) == 16 * 8 * (6 + 10)  # a pair of matrices of rank 16 for each expert

    def memory(shape):
        return next(row.memory for row in costs(config, planned(config), MOE, shape, POOL, {}) if row.stage == "train")

    more = memory(tuned) - memory(dataclasses.replace(DENSE, lora=()))
    assert more == 16 * 16 * 8 * (6 + 10) + 2 * 8 * 6 * 10


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Olmoe", {"intermediate_size": 64, "num_experts": 8, "num_experts_per_tok": 2}),
        ("Mixtral", {"intermediate_size": 64, "num_local_experts": 8, "num_key_value_heads": 2}),
    ],
)
def test_what_autograd_keeps_of_a_selector(family, settings):
    model = deep(family, **settings)
    formula = activations(shape_of(model), itemsize=2)
    freeze_all_but(model, TrashCan(model, 0.25, "appended", 0).parameters())
    kept = Kept(model)
    with kept.hooks:
        model.base_model(IDS, use_cache=False)
    assert kept.per_token(IDS.numel()) == pytest.approx(formula, rel=0.15)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Llama", {"intermediate_size": 344}),
        ("Llama", {"intermediate_size": 512, "num_key_value_heads": 1}),
        ("Olmoe", {"intermediate_size": 64, "num_experts": 8, "num_experts_per_tok": 2}),
        ("Mixtral", {"intermediate_size": 64, "num_local_experts": 8, "num_key_value_heads": 2}),
    ],
)
def test_what_autograd_keeps_of_a_target_that_is_tuned_in_full(family, settings):
    model = deep(family, **settings)
    formula = IN_FULL * activations(shape_of(model), itemsize=2)
    model.float().requires_grad_()
    kept = Kept(model)
    with kept.hooks, torch.autocast("cpu", torch.bfloat16):
        model.base_model(IDS, use_cache=False)
    copies = 2 * sum(value.numel() for name, value in model.base_model.named_parameters() if "layers" in name)
    assert kept.per_token(IDS.numel()) - copies / IDS.numel() == pytest.approx(formula, rel=0.15)


@pytest.mark.parametrize("heads", [4, 2])
def test_what_autograd_keeps_of_a_target(heads):
    model = deep("Llama", intermediate_size=344, num_key_value_heads=heads)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    shape = dataclasses.replace(shape_of(model), lora=tuple(lora_weights(model, targets, 0.0)))
    formula = activations(shape, itemsize=2)
    tuned = add_lora(model, 16, 32, 0.0, targets)
    kept = Kept(tuned)
    with kept.hooks, torch.autocast("cpu", torch.bfloat16):
        tuned.base_model.model.base_model(IDS, use_cache=False)
    assert kept.per_token(IDS.numel()) == pytest.approx(formula, rel=0.15)
