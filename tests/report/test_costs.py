import pytest
import torch
import transformers
from given.costs import DENSE, MOE, POOL, ROOT, configured
from transformers import AutoModelForCausalLM

from moesift.models.adapters import add_lora
from moesift.models.routers import TrashCan, freeze_all_but
from moesift.models.shapes import shape_of
from moesift.report.costs import (
    forward,
    frozen_training,
    kept_by_lora,
    kept_per_token,
    memory,
    peak,
    router_parameters,
    works,
)


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_operations_of_a_token():
    assert forward(MOE, head=False) == 2000
    assert forward(MOE, head=True) == 3000
    assert frozen_training(MOE) == 6000


def test_trash_can_experts_are_part_of_the_routers():
    assert router_parameters(MOE, configured()) == (4 * 8 * 10, 4 * 2 * 10)  # a quarter of 8
    assert router_parameters(MOE, configured(warmup={"expert_role": "partition"})) == (320, 0)


def test_the_work_of_every_stage():
    config = configured(
        warmup={"examples": 300, "epochs": 2},
        select={"ratio": [0.1, 0.5]},
        train={"epochs": 3, "lora_rank": 2},
        data={"heldout": 40},
        evaluate={"tasks": [{"name": "mmlu"}]},
        throughput={"eval_batch_size": 30},
    )
    found = [
        (work.stage, work.what, work.runs, work.tokens, work.flops_per_token, work.decode_steps)
        for work in works(config, MOE, DENSE, POOL)
    ]
    trained = 4 * (2000 + 500) + 6 * 2 * 20 * 4  # rank 2 on four modules of 10 x 10
    assert found == [
        ("warm up", "2 epochs of 300 examples", 2, 2 * 300 * 20, 6000, 0),
        ("score", "nats with selector", 1, 1000 * 20, 3000, 0),
        ("score", "signals with last", 2, 1000 * 20, 2000, 0),
        ("train", "3 epochs of 0.1 of the pool", 4, 3 * 100 * 25, trained, 0),
        ("train", "3 epochs of 0.5 of the pool", 4, 3 * 500 * 25, trained, 0),
        ("evaluate", "held-out loss", 9, 40 * 25, 5000, 0),
        ("evaluate", "mmlu, roughly", 9, 100 * 30, 5000, 4 * 5),
    ]


def test_methods_that_read_the_same_share_the_pass():
    def passes(*methods):
        return [w.what for w in works(configured(methods=list(methods)), MOE, DENSE, POOL) if w.stage == "score"]

    assert passes("nll", "ifd") == ["nats with selector", "nats_alone with selector"]
    assert passes("expert_gain", "reducible") == [
        "nats with first",
        "nats with last",
        "nats_open with last",
        "nats_shut with last",
    ]
    assert passes("random", "length") == []
    assert passes("typical_inputs") == ["nats, nats_end, sketch with selector", "nats_alone with selector"]


def test_a_selection_that_is_to_be_diverse_reads_the_routers():
    diverse = {"select": {"ratio": [0.1], "diversity": 2}}
    found = works(configured(methods=["nll"], **diverse), MOE, DENSE, POOL)
    assert [work.what for work in found if work.stage == "score"] == ["nats with selector", "usage with last"]
    assert "warm up" in {work.stage for work in found}
    (both,) = [w.what for w in works(configured(methods=["router"], **diverse), MOE, DENSE, POOL) if w.stage == "score"]
    assert both == "signals, usage with last"


def test_without_a_method_that_reads_the_routers_there_is_no_warm_up():
    assert "warm up" not in {work.stage for work in works(configured(methods=["nll"]), MOE, DENSE, POOL)}


def test_twins_double_the_warm_up():
    plain, negatives = (
        works(configured(warmup={"objective": objective}), MOE, DENSE, POOL)[0] for objective in ("lm", "contrastive")
    )
    assert negatives.tokens == 2 * plain.tokens
    # the pool has 1,000 examples, fewer than the default 2,000
    assert plain.tokens == 2 * 1000 * 20


def test_hours():
    work = works(configured(), MOE, DENSE, POOL)[-1]
    assert (work.runs, work.decode_steps, work.flops) == (9, 20, 9 * 3000 * 5000)
    # 135 MFLOP at half of 1e-6 TFLOP/s, and 9 * 20 steps of 40 ms
    assert work.hours(peak_tflops=1e-6, utilisation=0.5, decode_ms=40) == pytest.approx((270 + 7.2) / 3600)


def test_memory_part_by_part():
    config = configured(
        data={"max_length": 100},
        train={"lora_rank": 2, "lora_dropout": 0.1},
        throughput={"micro_batch": 3, "score_tokens": 200, "eval_batch_size": 30},
    )
    found = memory(config, MOE, DENSE)
    # Two bytes for each 10 of 960 parameters, norms in float32, and in each of 4 routed layers two outputs of 10 in two
    # bytes, an input of 10 and four vectors of 8 in float32.
    kept = 2 * 96 + 4 * 40 + 4 * (2 * 10 * 2 + 40 + 16 * 8)
    assert kept_per_token(MOE, 2) == kept == 1184
    assert found["warm up"] == {
        "weights": 10000,
        "routers": 320 * 14 + 80 * 16,
        "activations": 300 * 1184,
        "logits": 256 * 50 * 14,  # in chunks
        "(activations if checkpointed)": 300 * (2 * 10 * 4 + 1184 / 4),
    }
    assert found["score"] == {"weights": 10000, "one layer's activations": 200 * 296, "logits": 200 * 50 * 10}
    dense = 2 * 196 + 4 * 40
    assert found["train"] == {
        "weights": 6000,
        "copies in bf16": 4000,  # the target is stored in float16
        "LoRA": 160 * 16,
        "activations": 300 * (dense + 4 * (3 * 10 + 2 * 2)),
        "logits": 300 * 50 * 14,
        "(activations if checkpointed)": 300 * (80 + (dense + 136) / 4),
    }
    assert found["evaluate"]["key-value cache"] == 30 * (30 + 5) * 80 * 2
    assert peak(found["warm up"]) == 10000 + 5760 + 355200 + 179200
    again = memory(
        configured(data={"max_length": 100}, throughput={"micro_batch": 3, "activations": "recompute"}), MOE, DENSE
    )
    assert again["warm up"]["activations, checkpointed"] == found["warm up"]["(activations if checkpointed)"]
    assert "activations" not in again["warm up"]


class Kept:
    """Bytes of the tensors that autograd keeps, each storage once, parameters and buffers left out."""

    def __init__(self, model):
        own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        self.tensors = {}

        def pack(tensor):
            if tensor.untyped_storage().data_ptr() not in own:
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


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("Olmoe", {"intermediate_size": 64, "num_experts": 8, "num_experts_per_tok": 2}),
        ("Mixtral", {"intermediate_size": 64, "num_local_experts": 8, "num_key_value_heads": 2}),
    ],
)
def test_what_autograd_keeps_of_a_selector(family, settings):
    model = deep(family, **settings)
    formula = kept_per_token(shape_of(model, []), itemsize=2)
    freeze_all_but(model, TrashCan(model, 0.25, "appended", 0).parameters())
    kept = Kept(model)
    with kept.hooks:
        model.base_model(IDS, use_cache=False)
    assert kept.per_token(IDS.numel()) == pytest.approx(formula, rel=0.12)


@pytest.mark.parametrize("heads", [4, 2])
def test_what_autograd_keeps_of_a_target(heads):
    """Without dropout, whose mask takes more on a CPU than the byte that it takes on a GPU."""
    model = deep("Llama", intermediate_size=344, num_key_value_heads=heads)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    shape = shape_of(model, targets)
    formula = kept_per_token(shape, itemsize=2) + kept_by_lora(shape, 16, dropout=0.0)
    tuned = add_lora(model, 16, 32, 0.0, targets)
    kept = Kept(tuned)
    with kept.hooks, torch.autocast("cpu", torch.bfloat16):
        tuned.base_model.model.base_model(IDS, use_cache=False)
    assert kept.per_token(IDS.numel()) == pytest.approx(formula, rel=0.12)


def test_weights_of_another_dtype_are_copied_by_autocast():
    model = deep("Llama", intermediate_size=344).to(torch.float16)
    layers = sum(parameter.numel() for parameter in model.model.layers.parameters() if parameter.ndim == 2)
    tuned = add_lora(model, 16, 32, 0.0, ["q_proj"])
    kept = Kept(tuned)
    with kept.hooks, torch.autocast("cpu", torch.bfloat16):
        tuned.base_model.model.base_model(IDS, use_cache=False)
    weights = [t for t in kept.tensors.values() if sorted(t.shape) in ([128, 128], [128, 344]) and t.shape[0] != 512]
    # Nearly all: of the first layer, what comes before the first LoRA matrix needs no gradient.
    assert sum(tensor.numel() for tensor in weights) == pytest.approx(layers, rel=0.06)


def test_a_contrast_needs_neither_gradients_of_the_model_nor_logits():
    plain, contrasted = (configured(warmup={"objective": objective}) for objective in ("lm", "contrastive"))
    lm, contrast = (works(config, MOE, DENSE, POOL)[0] for config in (plain, contrasted))
    assert contrast.flops_per_token == forward(MOE, head=False) < lm.flops_per_token
    parts = memory(contrasted, MOE, DENSE)["warm up"]
    assert "logits" not in parts
    length, micro = contrasted.data.max_length, contrasted.throughput.micro_batch
    assert parts["inputs of the routers"] == 2 * micro * length * MOE.routed * MOE.hidden * 4
