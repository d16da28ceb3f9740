import copy

import pytest
import torch
from given.models import FAMILIES, random_dense_model, random_model

from moesift.check.models import described
from moesift.errors import UserError
from moesift.gpus import GIVEN
from moesift.models import loading
from moesift.models.loading import checkpoint_activations
from moesift.models.routers import TrashCan, freeze_all_but

IDS = torch.arange(2, 14).view(2, 6)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_activations_change_neither_loss_nor_gradients(family):
    """Noise and dropout of train mode would change the loss: the warm-up's model is in eval mode, and stays in it."""
    results = []
    for checkpointed in (False, True):
        model = random_model(family)
        trash_can = TrashCan(model, 0.5, "appended", seed=0)
        freeze_all_but(model, trash_can.parameters())
        if checkpointed:
            checkpoint_activations(model)
        runs = []
        model.base_model.layers[-1].post_attention_layernorm.register_forward_pre_hook(
            lambda *_, runs=runs: runs.append(1)
        )
        loss = model(IDS, labels=IDS, use_cache=False).loss + trash_can.log_odds(IDS.shape).mean()
        loss.backward()
        assert len(runs) == 1 + checkpointed
        results.append((loss.detach(), [parameter.grad for parameter in trash_can.parameters().values()]))
    assert torch.equal(results[0][0], results[1][0])
    for plain, again in zip(results[0][1], results[1][1], strict=True):
        assert plain.abs().max() > 0
        assert torch.allclose(plain, again, atol=1e-6)


@pytest.mark.parametrize(
    ("built", "advice"),
    [
        (None, "is built for CPUs only: install one"),
        ("13.2", "is built for CUDA 13.2: check with `nvidia-smi`"),
    ],
)
def test_a_job_with_gpus_never_computes_on_the_cpu(built, advice, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.delenv(GIVEN, raising=False)
    assert loading.device().type == "cpu"
    monkeypatch.setenv(GIVEN, "0")
    assert loading.device().type == "cpu"
    monkeypatch.setenv(GIVEN, "2")
    with pytest.raises(UserError, match=r"asks for GPUs: 2; .* torch can compute on: 0; ") as error:
        loading.device()
    assert advice in str(error.value)


def test_a_job_needs_all_of_its_gpus(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    loading.require_gpus(1)
    with pytest.raises(UserError, match=r"asks for GPUs: 2; .* torch can compute on: 1; "):
        loading.require_gpus(2)


def test_a_model_on_the_hub_is_read_at_the_revision_that_its_name_gives(tmp_path, monkeypatch, tokenizer):
    """In a cache with two commits, of which `main` is the second."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commits, folder = ("a" * 40, "b" * 40), tmp_path / "models--owner--name"
    for number, commit in enumerate(commits):
        model = random_dense_model()
        with torch.no_grad():
            model.lm_head.weight.fill_(number)
        model.save_pretrained(folder / "snapshots" / commit)
        words = copy.deepcopy(tokenizer)
        words.model_max_length = 100 + number
        words.save_pretrained(folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commits[1])
    for name, number in ((f"owner/name@{commits[0]}", 0), ("owner/name", 1), (f"owner/name@{commits[1]}", 1)):
        model, words = loading.load_model(name)
        assert (model.lm_head.weight == number).all()
        assert words.model_max_length == 100 + number
        assert described("target.model", name)["commit"] == commits[number]
    with pytest.raises(UserError, match=r"target.model: owner/name@no is neither a local directory nor a model on the"):
        loading.load_config("owner/name@no", "target.model")


def test_a_model_is_loaded_in_the_precision_of_its_files_or_in_the_one_that_is_asked_for(tmp_path, tokenizer):
    saved = random_dense_model().to(torch.bfloat16)
    saved.save_pretrained(tmp_path, max_shard_size="20KB")  # as the hub holds large models
    tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    for asked, expected in ((None, torch.bfloat16), ("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        model, _ = loading.load_model(str(tmp_path), asked)
        assert {parameter.dtype for parameter in model.parameters()} == {expected}
        assert all(
            torch.equal(value.bfloat16(), saved.state_dict()[name]) for name, value in model.state_dict().items()
        )


def test_a_directory_may_have_an_at_in_its_name(tmp_path):
    (tmp_path / "a@b").mkdir()
    assert loading.located(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), "main")
