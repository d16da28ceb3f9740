"""The training loop: optimizer steps that do not depend on micro-batches or processes, resumable to the same bits."""

import contextlib
import math
import time
from collections.abc import Callable, Container, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from moesift import live, progress
from moesift.errors import UserError
from moesift.models.batches import collate, micro_batches
from moesift.models.chat import Encoded
from moesift.models.losses import response_nll
from moesift.training import state
from moesift.training.accelerate_file import REPLICATED
from moesift.training.accelerator import kind
from moesift.training.schedule import MAX_GRADIENT_NORM, rise_and_cosine
from moesift.training.state import State, States


class Tuned(NamedTuple):
    """A finished training."""

    model: nn.Module  # as `accelerator.prepare` returned it
    nll_per_step: list[float]  # mean over the step's response tokens, before the step
    seconds: float  # of all steps, including those before an interruption


def tune(
    accelerator: Accelerator,
    model: nn.Module,
    ids: Sequence[str],
    examples: Sequence[Encoded],
    batches: Sequence[Sequence[int]],
    pad_id: int,
    *,
    learning_rate: float,
    warmup_ratio: float,
    seed: int,
    micro_batch: int,
    states: States | None = None,
    marks: Container[int] = (),
    at_mark: Callable[[State], None] = lambda state: None,
    show: live.Show = lambda step, numbers: None,
) -> Tuned:
    """Train the parameters that require gradients, with AdamW.

    Within a step every response token has the same weight, in whichever pass and process it is computed. A training
    that was killed resumes from its last state, if every process holds the whole model.

    Args:
        accelerator: of `training.accelerator.launched`.
        model: of which some parameters require gradients: LoRA matrices, or all weights.
        ids: of the examples.
        batches: the examples of each optimizer step, as indices.
        learning_rate: at its peak.
        warmup_ratio: share of the steps in which the learning rate rises.
        seed: of the dropout.
        micro_batch: examples in one forward and backward pass of one process.
        states: to resume from and to save; without them the training cannot be resumed.
        marks: numbers of steps after which `at_mark` is called.
        at_mark: called in every process with the state; after an interruption only for what comes after it.
        show: called with the numbers of each step.

    Raises:
        UserError: a loss or a gradient is not finite, after the last step too. The states are removed.
    """
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=learning_rate, weight_decay=0.0)
    lengths = [len(example.ids) for example in examples]
    losses, seconds = list[float](), 0.0
    if kind(accelerator) not in REPLICATED:
        states = None
    if states is not None and (resumed := states.newest()) is not None:
        losses, seconds = resumed.records["nll_per_step"], resumed.records["seconds"]
        state.set_values(resumed.tensors, trained)
        state.set_moments(resumed.tensors, optimizer, trained)
        print(f"resumes after {len(losses)} of {len(batches)} steps, from {states.folder}")
    model, optimizer = accelerator.prepare(model.train(), optimizer)
    # FSDP2 replaces the model's parameters, and only the new ones have gradients to clip.
    clipped = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sizes = [sum(lengths[index] for index in batch) for batch in batches]
    rank, processes = accelerator.process_index, accelerator.num_processes
    started, done = time.monotonic() - seconds, len(losses)

    def current(step: int) -> State:
        records = {"nll_per_step": losses, "seconds": time.monotonic() - started}
        return State(step, state.values(trained) | state.moments(optimizer, trained), records)

    def nll_of(batch: Sequence[int]) -> float:
        """Return the mean NLL of a step's response tokens; add its gradients where they are enabled."""
        tokens = sum(examples[index].predicted for index in batch)
        total = torch.zeros((), device=accelerator.device)
        parts = micro_batches(batch, lengths, micro_batch, rank, processes)
        for number, part in enumerate(parts, start=1):
            accelerator.sync_gradients = number == len(parts)
            with contextlib.nullcontext() if accelerator.sync_gradients else accelerator.no_sync(model):
                loss = summed_nll(model, [examples[index] for index in part], pad_id, accelerator.device) / tokens
                if torch.is_grad_enabled():
                    # accelerate averages gradients over processes, and this loss is a sum over them.
                    accelerator.backward(loss * processes)
            total += loss.detach()
        return accelerator.reduce(total, "sum").item()

    def require_finite(step: int, batch: Sequence[int], nll: float, norm: Any = None) -> None:
        norm = getattr(norm, "full_tensor", lambda: norm)()  # FSDP2 spreads it over the processes
        if accelerator.mixed_precision == "fp16":  # there the scale of the loss overflows at times, and is lowered
            norm = None
        if math.isfinite(nll) and (norm is None or math.isfinite(norm)):
            return
        if states is not None and accelerator.is_main_process:
            states.remove()
        what = f"NLL per token {nll:g}, gradient norm {'unknown' if norm is None else format(float(norm), 'g')}"
        of = f"on the examples {', '.join(ids[index] for index in batch)}"
        if step == 0:
            raise UserError(f"before any training {what}, {of}: are the target's weights sound, its dtype wide enough?")
        raise UserError(
            f"the training diverged at step {step} of {len(batches)}: {what}, {of}; nothing is saved; lower "
            f"train.learning_rate ({learning_rate:g}). With --keep-going, the other runs go on"
        )

    def status() -> str:
        return f"nll {losses[-1]:.3f}"

    bar = progress.steps(batches, sizes, "train", start=done, status=status, shown=accelerator.is_main_process)
    for step, batch in enumerate(bar, start=done):
        step_started = time.monotonic()
        torch.manual_seed(dropout_seed(seed, step, rank))
        rate = learning_rate * rise_and_cosine(step, len(batches), warmup_ratio)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses.append(nll_of(batch))
        require_finite(step, batch, losses[-1], accelerator.clip_grad_norm_(clipped, MAX_GRADIENT_NORM))
        optimizer.step()
        optimizer.zero_grad()
        speed = sizes[step] / (time.monotonic() - step_started)
        show(step, {"nll per token": losses[-1], "learning rate": rate, "tokens per second": speed})
        if step + 1 in marks:
            at_mark(current(step + 1))
        if states is not None and states.due():
            states.save(current(step + 1))
    with torch.no_grad():
        require_finite(len(batches), batches[-1], nll_of(batches[-1]))
    return Tuned(model, losses, time.monotonic() - started)


def summed_nll(model: nn.Module, examples: Sequence[Encoded], pad_id: int, device: torch.device) -> Tensor:
    """Return the negative log-likelihood of the response tokens of one micro-batch, summed, in nats."""
    batch = collate(examples, pad_id).to(device)
    # As positions: their number would cut a slice, which is not contiguous, and torch multiplies each example
    # of such a batch by a copy of the head.
    kept = torch.arange(batch.ids.shape[1] - batch.predicting, batch.ids.shape[1], device=device)  # (P,)
    logits = model(batch.ids, use_cache=False, logits_to_keep=kept).logits  # (B, P, V)
    return response_nll(logits, batch).sum()


def dropout_seed(seed: int, step: int, process: int) -> int:
    """Return the seed of a step's dropout: independent of the steps before it, and different for each argument."""
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0])
