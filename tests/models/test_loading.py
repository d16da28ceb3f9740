import pytest
import torch
from given.models import FAMILIES, random_model

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
