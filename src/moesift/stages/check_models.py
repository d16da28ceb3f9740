"""Look at selector and target before any time is spent: are they there, and are they what they are asked to be?"""

import argparse
import json
from pathlib import Path

from moesift.config import EMBEDDED, SMOLLM2
from moesift.errors import UserError, run
from moesift.files import whole
from moesift.models.loading import load_config, load_tokenizer, require_safetensors
from moesift.models.routers import UPCYCLE, has_routers


def main() -> None:
    """Write what the names stand for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--selector", required=True)
    parser.add_argument("--upcycled", action="store_true", help="the selector is dense and will be upcycled")
    parser.add_argument("--routed", action="store_true", help="a method reads the selector's routers")
    parser.add_argument("--target", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    found = {
        "selector": described("selector.model", args.selector),
        "target": described("target.model", args.target),
    }
    if found["selector"]["routers"] and args.upcycled:
        raise UserError(f"selector.upcycle: {args.selector} has routers already, so leave it at null")
    if args.routed and not (found["selector"]["routers"] or args.upcycled):
        raise UserError(f"selector.model: {args.selector} has no routers; {UPCYCLE}")
    with whole(args.out) as part:
        part.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


def described(key: str, model: str) -> dict[str, str | bool | None]:
    """Return a model's architecture, whether it has routers, and on the hub its commit; its files are tried as well.

    What the workflow makes itself is not there yet.
    """
    if model in (EMBEDDED, SMOLLM2):
        routers = model == EMBEDDED and key == "selector.model"
        return {"model": model, "architecture": None, "routers": routers, "commit": None}
    config = load_config(model, key)
    require_safetensors(model)
    load_tokenizer(model)
    return {
        "model": model,
        "architecture": config.model_type,
        "routers": has_routers(config),
        "commit": getattr(config, "_commit_hash", None),  # a directory has none
    }


if __name__ == "__main__":
    run(main)
