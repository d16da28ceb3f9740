"""Epoch 0 of the warm-up: attach trash-can experts to the selector and save it untrained, as the control."""

import argparse
from pathlib import Path

from moesift import config, flags
from moesift.errors import run
from moesift.files import atomic_write
from moesift.models import checkpoints


def main() -> None:
    """Read a model, write epoch 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the selector: a directory or a name on the hub")
    parser.add_argument("--out", type=Path, required=True, help="directory of epoch 0")
    parser.add_argument("--seed", type=int, required=True)
    flags.add(parser, config.Warmup, "objective", "expert_role", "trash_ratio")
    args = parser.parse_args()

    # The contrast is taken of the model as it is; the other objectives train it with its trash cans at work.
    gate = "open" if args.objective == "contrastive" else "learned"
    selector = checkpoints.attach(args.model, args.trash_ratio, args.expert_role, args.seed, gate)
    with atomic_write(args.out) as part:
        checkpoints.save(selector, part, previous=None, optimizer={})
    roles = selector.trash_can.roles
    print(
        f"{len(selector.trash_can.routers)} routers, {len(roles.quality)} quality and {len(roles.trash)} trash experts"
    )


if __name__ == "__main__":
    run(main)
