"""Epoch 0 of the warm-up: attach trash-can experts to the selector and save it untrained, as the control."""

from pathlib import Path

from moesift import config, flags
from moesift.files import atomic_write
from moesift.models import checkpoints


def main(model: str, out: Path, seed: int, warmup: config.Warmup, dtype: config.Dtype | None = None) -> None:
    """Read a model, write epoch 0.

    Args:
        model: the selector: a directory or a name on the hub.
        out: folder of epoch 0 to write.
        seed: of the trash-can rows.
        warmup: keys objective, expert_role and trash_ratio.
        dtype: precision of the model; unless given, that of its files.
    """
    # The contrastive loss is computed on the model as it is; the other objectives train it with its trash cans at work.
    gate = "open" if warmup.objective == "contrastive" else "learned"
    selector = checkpoints.attach(model, warmup.trash_ratio, warmup.expert_role, seed, gate, dtype)
    with atomic_write(out) as part:
        checkpoints.save(selector, part, previous=None, optimizer={})
    roles = selector.trash_can.roles
    print(
        f"{len(selector.trash_can.routers)} routers, {len(roles.quality)} quality and {len(roles.trash)} trash experts"
    )


if __name__ == "__main__":
    flags.run(main)
