"""Look at selector and target before any time is spent: are they there, and are they what they are asked to be?"""

import argparse
import json
from pathlib import Path

from transformers import AutoConfig

from moesift.config import EMBEDDED
from moesift.errors import UserError, run
from moesift.models import load_tokenizer


def main() -> None:
    """Write what the names stand for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--selector", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    found = {
        "selector": described("selector.model", args.selector),
        "target": described("target.model", args.target),
    }
    args.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


def described(key: str, model: str) -> dict[str, str | None]:
    """Return a model's architecture, and on the hub its commit; its tokenizer is tried as well."""
    if model == EMBEDDED:
        return {"model": model, "architecture": None, "commit": None}
    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key}: {model} is neither a model directory here nor to be had from the hub: {error}"
        ) from error
    load_tokenizer(model)
    return {"model": model, "architecture": config.model_type, "commit": config._commit_hash}


if __name__ == "__main__":
    run(main)
