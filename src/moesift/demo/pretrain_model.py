"""Pretrain one of the embedded models on the tokenised corpus: a tiny OLMoE or a tiny Llama."""

import json
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, set_seed

from moesift import config, flags, progress
from moesift.demo.embedded import dense_config, moe_config, windows
from moesift.errors import UserError
from moesift.files import atomic_write
from moesift.models.loading import device, load_tokenizer
from moesift.training.schedule import MAX_GRADIENT_NORM, rise_and_cosine

WINDOW = 128  # tokens of one training sequence
BATCH = 16  # sequences per optimizer step
LOGGED = 20  # steps between two losses in the log


def main(
    role: Literal["selector", "target"],
    tokenizer: Path,
    corpus: Path,
    out: Path,
    log: Path,
    threads: int,
    embedded: config.Embedded,
) -> None:
    """Read the tokenizer and the corpus, write the model; the same seed gives the same weights.

    Args:
        role: the selector is a MoE, the target dense.
        tokenizer: directory of the tokenizer.
        corpus: safetensors file of the tokens.
        out: directory of the model to write.
        log: JSON lines to write, with the loss in nats per token.
        threads: CPU threads.
        embedded: keys tokens, learning_rate and seed.
    """
    torch.set_num_threads(threads)
    set_seed(embedded.seed)
    vocabulary = load_tokenizer(str(tokenizer))
    is_moe = role == "selector"
    shape = moe_config(vocabulary) if is_moe else dense_config(vocabulary)
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32).to(device())
    stream = load_file(corpus)["ids"]
    if embedded.tokens > len(stream):
        raise UserError(f"embedded.tokens: {embedded.tokens} is more than the {len(stream)} tokens of embedded.corpus")
    sequences = windows(stream[: embedded.tokens], WINDOW, embedded.seed)  # (windows, WINDOW)
    if (steps := len(sequences) // BATCH) == 0:
        raise UserError(f"embedded.tokens: {embedded.tokens} make no step; at least {BATCH * WINDOW} are needed")

    optimizer = torch.optim.AdamW(model.parameters(), lr=embedded.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    losses: list[float] = []
    sizes = [BATCH * WINDOW] * steps
    for step in progress.steps(range(steps), sizes, "pretrain", status=lambda: f"{losses[-1]:.3f} nats"):
        optimizer.param_groups[0]["lr"] = embedded.learning_rate * rise_and_cosine(step, steps, 0.05)
        ids = sequences[step * BATCH : (step + 1) * BATCH].to(model.device)  # (BATCH, WINDOW)
        output = model(ids, output_router_logits=True) if is_moe else model(ids)
        loss = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        # A MoE needs the load balance, at OLMoE's own weight, or a few experts get every token.
        total = loss + shape.router_aux_loss_coef * output.aux_loss if is_moe else loss
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    with atomic_write(log) as part:
        logged = sorted({*range(0, steps, LOGGED), steps - 1})
        part.write_text("".join(json.dumps({"step": step, "loss": losses[step]}) + "\n" for step in logged))
    with atomic_write(out) as part:
        model.save_pretrained(part)
        vocabulary.save_pretrained(part)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{role}: {parameters:,} parameters, {steps} steps, last loss {losses[-1]:.3f} nats per token")


if __name__ == "__main__":
    flags.run(main)
