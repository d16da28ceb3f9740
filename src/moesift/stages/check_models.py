"""Look at selector and target before any time is spent: are they there, and are they what they are asked to be?"""

import argparse
import json
from pathlib import Path

from moesift.errors import run
from moesift.files import atomic_write
from moesift.models.inspection import described, require_routers


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
    require_routers(args.selector, bool(found["selector"]["routers"]), args.upcycled, args.routed)
    with atomic_write(args.out) as part:
        part.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    run(main)
