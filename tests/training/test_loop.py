"""The LoRA loop in one process; the tests of the stage start it as the workflow does, on one process and on several."""

import pytest
import torch
from accelerate import Accelerator
from given.models import random_dense_model

from moesift.errors import UserError
from moesift.models.adapters import add_lora
from moesift.models.batches import shuffled_batches
from moesift.models.chat import encode
from moesift.training import loop
from moesift.training.loop import dropout_seed, tune
from moesift.training.state import States


@pytest.fixture
def tuned(tokenizer, conversations, tmp_path):
    """A function that tunes a tiny model for two epochs of two steps."""

    def run(micro_batch=2, dropout=0.0, seed=0, folder=None, every=1000.0, stop_after=None, rate=0.01, break_at=None):
        torch.manual_seed(0)
        model = add_lora(random_dense_model(), 4, 8, dropout, ["q_proj", "down_proj"])
        examples = encode(conversations, tokenizer, 60)
        batches = [batch for epoch in (0, 1) for batch in shuffled_batches(len(examples), 4, 0, epoch)]
        shown = {}

        def show(step, numbers):
            shown[step] = numbers
            if step == stop_after:
                raise KeyboardInterrupt
            if step == break_at:
                next(each for each in model.parameters() if each.requires_grad).data.fill_(float("nan"))

        result = tune(
            Accelerator(cpu=True),
            model,
            [str(number) for number in range(len(examples))],
            examples,
            batches,
            tokenizer.pad_token_id,
            learning_rate=rate,
            warmup_ratio=0.5,
            seed=seed,
            micro_batch=micro_batch,
            states=None if folder is None else States(tmp_path / folder, "job", every=every),
            show=show,
        )
        weights = {name: value.detach() for name, value in result.model.named_parameters() if value.requires_grad}
        return result, weights, shown

    return run


def test_each_step_shows_its_loss_and_learning_rate(tuned):
    result, _, shown = tuned()
    assert [shown[step]["nll per token"] for step in range(4)] == result.nll_per_step
    assert [shown[step]["learning rate"] for step in range(4)] == pytest.approx([0.005, 0.01, 0.01, 0.005])


def test_the_head_multiplies_all_examples_at_once(tokenizer, conversations):
    """What is not contiguous is multiplied example by example, each by a copy of the head where that is frozen."""
    model, read = random_dense_model(), []
    model.lm_head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    examples = encode(conversations, tokenizer, 60)
    loop.summed_nll(model, examples, tokenizer.pad_token_id, model.device)
    assert read[0].shape[1] < max(len(example.ids) for example in examples)
    assert read[0].is_contiguous()


def test_a_step_does_not_depend_on_its_micro_batches(tuned):
    (whole, weights, _), (parts, other, _) = tuned(micro_batch=4), tuned(micro_batch=1)
    assert parts.nll_per_step == pytest.approx(whole.nll_per_step, abs=1e-5)
    assert all(torch.allclose(other[name], weights[name], atol=1e-5) for name in weights)


def test_an_interrupted_training_resumes_to_the_same_bits(tuned, tmp_path):
    expected, weights, _ = tuned(dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        tuned(dropout=0.3, folder="interrupted", every=0, stop_after=2)
    (tmp_path / "interrupted" / "lock").unlink()  # this process still holds it
    resumed, other, shown = tuned(dropout=0.3, folder="interrupted")
    assert sorted(shown) == [2, 3]
    assert resumed.nll_per_step == expected.nll_per_step
    assert all(torch.equal(other[name], weights[name]) for name in weights)


@pytest.mark.parametrize(("broken", "step"), [(0, 1), (2, 3), (3, 4)])  # after the last step too
def test_a_training_that_is_not_finite_stops_and_leaves_no_state(broken, step, tuned, tmp_path, conversations):
    batches = [*shuffled_batches(6, 4, 0, 0), *shuffled_batches(6, 4, 0, 1)]
    of = ", ".join(map(str, batches[min(step, 3)]))
    message = (
        rf"the training diverged at step {step} of 4: NLL per token nan, .*, on the examples {of}; nothing is saved"
    )
    with pytest.raises(UserError, match=rf"^{message}; lower train\.learning_rate \(0\.01\)\. With --keep-going"):
        tuned(break_at=broken, folder="diverged", every=0)
    assert not (tmp_path / "diverged").exists()


def test_a_gradient_that_is_not_finite_stops(tuned, monkeypatch):
    nll = loop.response_nll
    # Its derivative at 0 is infinite, its value is not.
    monkeypatch.setattr(loop, "response_nll", lambda *given: nll(*given) + (nll(*given) * 0).sqrt())
    with pytest.raises(
        UserError, match=r"^before any training NLL per token 5\.\d+, gradient norm nan, on the examples"
    ):
        tuned()


def test_dropout_differs_for_every_seed_step_and_process():
    seeds = {dropout_seed(seed, step, process) for seed in range(4) for step in range(20) for process in range(3)}
    assert len(seeds) == 4 * 20 * 3
    assert dropout_seed(1, 0, 0) == dropout_seed(1, 0, 0) != dropout_seed(0, 1, 0)
