"""Look at selector and target before any time is spent: are they there, and can they be used?"""

import json
from pathlib import Path

from moesift import config, flags
from moesift.check.models import described, require_lora, require_routers
from moesift.files import atomic_write


def main(selector: str, target: str, upcycled: bool, routed: list[str], train: config.Train, out: Path) -> None:
    """Write what the two models are.

    Args:
        selector: `embedded`, `smollm2`, a directory or a name on the hub.
        target: likewise.
        upcycled: the selector will be converted into a Mixture of Experts.
        routed: what needs a selector with routers.
        train: keys lora_targets and lora_dropout.
        out: JSON to write.
    """
    models = {"selector": described("selector.model", selector), "target": described("target.model", target)}
    require_routers(selector, bool(models["selector"]["routers"]), upcycled, routed)
    require_lora(target, train.lora_targets, train.lora_dropout)
    with atomic_write(out) as part:
        part.write_text(json.dumps(models, indent=2) + "\n")
    print(json.dumps(models))


if __name__ == "__main__":
    flags.run(main)
