import json

import pytest
from given.models import random_model
from safetensors.torch import save_file
from transformers import LlamaConfig

from moesift.errors import UserError
from moesift.stages import check_models


def checked(folder, monkeypatch, selector, *flags):
    words = ["--selector", str(selector), "--target", "embedded", "--out", str(folder / "models.json"), *flags]
    monkeypatch.setattr("sys.argv", ["check_models", *words])
    check_models.main()
    return json.loads((folder / "models.json").read_text())["selector"]


@pytest.fixture
def moe(tmp_path, tokenizer):
    random_model("Olmoe").save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    return tmp_path / "moe"


@pytest.fixture
def dense(tmp_path, tokenizer):
    LlamaConfig().save_pretrained(tmp_path / "dense")
    save_file({}, tmp_path / "dense" / "model.safetensors")  # it has to be there; nothing but its header is read
    tokenizer.save_pretrained(tmp_path / "dense")
    return tmp_path / "dense"


def test_a_selector_is_described(tmp_path, monkeypatch, moe):
    found = checked(tmp_path, monkeypatch, moe, "--routed")
    assert (found["architecture"], found["routers"]) == ("olmoe", True)
    assert checked(tmp_path, monkeypatch, "embedded", "--routed")["routers"] is True


def test_a_dense_selector_has_to_be_upcycled(tmp_path, monkeypatch, dense):
    with pytest.raises(UserError, match=r"selector.model: .*dense has no routers; .*selector.upcycle"):
        checked(tmp_path, monkeypatch, dense, "--routed")
    with pytest.raises(UserError, match=r"selector.model: smollm2 has no routers"):
        checked(tmp_path, monkeypatch, "smollm2", "--routed")
    assert checked(tmp_path, monkeypatch, dense, "--routed", "--upcycled")["routers"] is False
    assert checked(tmp_path, monkeypatch, dense)["routers"] is False  # nll and ifd read no routers


def test_a_moe_is_not_upcycled(tmp_path, monkeypatch, moe):
    with pytest.raises(UserError, match=r"selector.upcycle: .*moe has routers already"):
        checked(tmp_path, monkeypatch, moe, "--routed", "--upcycled")
