"""The LoRA warm-up in one process, killed and resumed, and its checkpoints as the passes load them."""

import contextlib
import json

import polars as pl
import pytest
import torch
from given.models import random_dense_model
from safetensors.torch import load_file

from moesift import config
from moesift.errors import UserError
from moesift.models.gradients import lora_matrices
from moesift.models.lora_checkpoints import load_checkpoint
from moesift.stages import lora_warmup

TRAIN = {"accelerate": "config/accelerate/single.yaml", "epochs": 2, "learning_rate": 0.01, "warmup_ratio": 0.0}
TRAIN |= {"batch_size": 4, "lora_rank": 2, "lora_alpha": 8, "lora_dropout": 0.1, "lora_targets": ["q_proj", "o_proj"]}


@pytest.fixture
def warm_up(tokenizer, conversations, tmp_path, monkeypatch):
    """A function that runs the stage on a pool of twelve examples, of which it draws two thirds, 2 steps an epoch."""
    random_dense_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = {"id": [str(n) for n in range(12)], "messages": conversations * 2, "finished": [True] * 12}
    pl.DataFrame(rows).write_parquet(tmp_path / "pool.parquet")

    def run(name, stop_after=None, share=2 / 3, **changed):
        def show(step, numbers):
            if step == stop_after:
                raise KeyboardInterrupt

        monkeypatch.setattr(lora_warmup, "view", lambda _: contextlib.nullcontext(show))
        monkeypatch.setattr("moesift.training.state._claim", lambda folder: None)  # this process would hold the lock
        lora_warmup.main(
            model=str(tmp_path / "model"),
            pool=tmp_path / "pool.parquet",
            out=tmp_path / name,
            seed=0,
            threads=1,
            micro_batch=2,
            recompute=False,
            state=tmp_path / f"{name}.state",
            save_every=0,
            max_length=60,
            share=share,
            train=config.LoraTrain(**(TRAIN | changed)),
        )
        return tmp_path / name

    return run


def test_a_killed_warm_up_resumes_to_the_same_checkpoints(warm_up, tmp_path):
    whole = warm_up("whole")
    with pytest.raises(KeyboardInterrupt):
        warm_up("killed", stop_after=3)  # the last step is done, its checkpoint not written
    assert not (tmp_path / "killed").exists()
    killed = warm_up("killed")
    assert sorted(path.name for path in killed.iterdir()) == ["lora-1", "lora-2"]
    assert not (tmp_path / "killed.state").exists()
    for file in ("adapter_model.safetensors", "moments.safetensors"):
        for epoch in ("lora-1", "lora-2"):
            one, other = load_file(whole / epoch / file), load_file(killed / epoch / file)
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) for name in one)
    first, second = (json.loads((whole / epoch / "checkpoint.json").read_text()) for epoch in ("lora-1", "lora-2"))
    assert (first["epoch"], first["examples"], len(first["nll_per_step"])) == (1, 8, 2)
    # One step at the peak, then half a cosine over three: 1, 1, 3/4, 1/4 of 0.01.
    assert (first["learning_rate"], second["learning_rate"]) == (pytest.approx(0.01), pytest.approx(0.005))


def test_a_checkpoint_is_loaded_with_the_moments_of_its_matrices(warm_up):
    """After one step of Adam from zero a number is the learning rate against the sign of its first moment."""
    folder = warm_up("short", share=0.01, epochs=1) / "lora-1"
    model = random_dense_model()
    checkpoint = load_checkpoint(model, folder)
    matrices = lora_matrices(model)
    assert set(checkpoint.moments) == set(matrices)
    assert len(matrices) == 8
    assert checkpoint.learning_rate == pytest.approx(0.01)
    checked = 0
    for name, matrix in matrices.items():
        first, second = checkpoint.moments[name]
        assert not matrix.weight.requires_grad
        assert torch.allclose(second, 0.1 * first.square(), rtol=1e-3)  # .001 g² and (.1 g)²
        if ".lora_B." in name:
            clear = first.abs() > 1e-6  # others are near Adam's epsilon
            assert torch.allclose(matrix.weight[clear], -0.01 * first[clear].sign(), atol=2e-4)
            checked += int(clear.sum())
        else:
            assert (first == 0).all()  # the other factor was zero
    assert checked > 100
    (folder / "moments.safetensors").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"moments.safetensors: cannot be read as safetensors"):
        load_checkpoint(random_dense_model(), folder)
    (folder / "moments.safetensors").unlink()
    with pytest.raises(UserError, match=r"lora-1: not a complete LoRA checkpoint of this model"):
        load_checkpoint(random_dense_model(), folder)


def test_examples_beyond_the_positions_are_refused_before_the_training(warm_up, tmp_path):
    file = tmp_path / "model/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_position_embeddings": 8}))
    with pytest.raises(UserError, match=r"data.max_length: an example has \d+ tokens, and .*model has 8 positions"):
        warm_up("refused")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["no_proj"], r"gradients.train.lora_targets: the model has no module called no_proj"),
        (["lm_head"], "is the head"),
    ],
)
def test_modules_that_do_not_fit_are_refused_before_the_training(warm_up, targets, message):
    with pytest.raises(UserError, match=message):
        warm_up("refused", lora_targets=targets)
