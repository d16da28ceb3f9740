import json

import pytest
import torch
from given.models import random_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForSequenceClassification

from moesift import config
from moesift.errors import UserError
from moesift.stages import check_models


def checked(
    folder, selector="embedded", routed=("router",), upcycled=False, target="embedded", lora=("q_proj",), reward=None
):
    train = config.Train.model_construct(method="lora", lora_targets=list(lora), lora_dropout=0.0)
    out = folder / "models.json"
    more = {"trainings": {}, "gpus": [], "tasks": [], "data": "hub", "reward": reward}
    check_models.main(str(selector), str(target), upcycled, list(routed), train, out=out, **more)
    return json.loads(out.read_text())["selector"]


@pytest.fixture
def moe(tmp_path, tokenizer):
    random_model("Olmoe").save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    return tmp_path / "moe"


@pytest.fixture
def dense(tmp_path, tokenizer):
    LlamaConfig().save_pretrained(tmp_path / "dense")
    save_file({}, tmp_path / "dense" / "model.safetensors")  # it has to be there; only its header is read
    tokenizer.save_pretrained(tmp_path / "dense")
    return tmp_path / "dense"


def test_a_selector_is_described(tmp_path, moe):
    found = checked(tmp_path, moe)
    assert (found["architecture"], found["routers"]) == ("olmoe", True)
    assert checked(tmp_path, "embedded")["routers"] is True


def test_a_dense_selector_is_refused_by_the_names_of_what_needs_routers(tmp_path, dense):
    with pytest.raises(UserError, match=r"selector.model: .*dense has no routers, and router, gates need"):
        checked(tmp_path, dense, ["router", "gates"])
    with pytest.raises(UserError, match=r"smollm2 has no routers, .* or convert this one with selector.upcycle: {exp"):
        checked(tmp_path, "smollm2")
    assert checked(tmp_path, dense, upcycled=True)["routers"] is False
    assert checked(tmp_path, dense, routed=[])["routers"] is False  # nll and ifd read no routers


def test_a_moe_is_not_upcycled(tmp_path, moe):
    with pytest.raises(UserError, match=r"selector.upcycle: .*moe has routers already"):
        checked(tmp_path, moe, upcycled=True)


def test_a_reward_model_is_looked_at_where_one_is_read(tmp_path, tokenizer, moe):
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForSequenceClassification(LlamaConfig(vocab_size=320, num_labels=3, **shape))
    model.save_pretrained(tmp_path / "reward")
    tokenizer.save_pretrained(tmp_path / "reward")
    checked(tmp_path, reward=str(tmp_path / "reward"))
    found = json.loads((tmp_path / "models.json").read_text())["reward"]
    assert (found["architecture"], found["labels"]) == ("llama", 3)
    with pytest.raises(UserError, match=r"reward.model: .*moe is OlmoeForCausalLM, and should be a reward model"):
        checked(tmp_path, reward=str(moe))


@pytest.mark.parametrize("target", ["embedded", "smollm2", "dense"])
def test_lora_that_does_not_fit_the_target_is_refused_before_anything_is_spent(target, tmp_path, dense):
    checked(
        tmp_path, target=tmp_path / "dense" if target == "dense" else target, lora=["q_proj", "layers.3.mlp.up_proj"]
    )
    with pytest.raises(UserError, match=r"train.lora_targets: the model has no module called v_porj that .* v_proj,"):
        checked(tmp_path, target=tmp_path / "dense" if target == "dense" else target, lora=["q_proj", "v_porj"])
    if target != "dense":  # the workflow's own are tied
        with pytest.raises(UserError, match=r"train.lora_targets: lm_head is tied to model\.embed_tokens\.weight"):
            checked(tmp_path, target=target, lora=["lm_head"])
