import json

import pytest
from given.models import random_model
from safetensors.torch import save_file
from transformers import LlamaConfig

from moesift.errors import UserError
from moesift.stages import check_models


def checked(folder, selector, routed=("router",), upcycled=False):
    out = folder / "models.json"
    check_models.main(
        str(selector), "embedded", upcycled, list(routed), trainings={}, gpus=[], tasks=[], data="hub", out=out
    )
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
    with pytest.raises(UserError, match=r"selector.model: .*dense has no routers, and router, select.diversity need"):
        checked(tmp_path, dense, ["router", "select.diversity"])
    with pytest.raises(UserError, match=r"smollm2 has no routers, .* or convert this one with selector.upcycle: {exp"):
        checked(tmp_path, "smollm2")
    assert checked(tmp_path, dense, upcycled=True)["routers"] is False
    assert checked(tmp_path, dense, routed=[])["routers"] is False  # nll and ifd read no routers


def test_a_moe_is_not_upcycled(tmp_path, moe):
    with pytest.raises(UserError, match=r"selector.upcycle: .*moe has routers already"):
        checked(tmp_path, moe, upcycled=True)
