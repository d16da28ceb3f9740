"""Look at models, accelerate files and tasks before any time is spent: are they there, and can they be used?"""

import json
import os
from pathlib import Path
from typing import Any

from moesift import config, flags
from moesift.check.models import described, described_reward, require_routers, require_tuning
from moesift.config import HUB
from moesift.errors import UserError
from moesift.evaluation.index import unusable
from moesift.files import atomic_write
from moesift.models.loading import FAKE_GPUS
from moesift.training.accelerate_file import require_usable


def main(
    selector: str,
    target: str,
    upcycled: bool,
    routed: list[str],
    train: config.Train,
    trainings: dict[str, Path],
    gpus: list[int],
    tasks: list[str],
    data: str,
    out: Path,
    reward: str | None = None,
) -> None:
    """Write what the models are.

    Args:
        selector: `embedded`, `smollm2`, a directory or a name on the hub.
        target: likewise.
        upcycled: the selector will be converted into a Mixture of Experts.
        routed: what needs a selector with routers.
        train: keys method, and for lora lora_targets and lora_dropout.
        trainings: JSON: the accelerate file of each rule that is going to train.
        gpus: that each of them asks for.
        tasks: lm-eval's names of tasks and groups.
        data: where their data come from, as `evaluate.data` says.
        out: JSON to write.
        reward: the sequence classifier that a method reads: a directory or a name on the hub.
    """
    if FAKE_GPUS in os.environ:
        gpus = [0] * len(gpus)
    for (rule, file), number in zip(trainings.items(), gpus, strict=True):
        require_usable(file, not number, number, rule != "train_adapter")
    if wrong := unusable(tasks, data == HUB):
        raise UserError("\n".join(wrong.values()))
    models: dict[str, dict[str, Any]] = {
        "selector": described("selector.model", selector),
        "target": described("target.model", target),
    }
    require_routers(selector, bool(models["selector"]["routers"]), upcycled, routed)
    require_tuning(target, train)
    if reward is not None:
        models["reward"] = described_reward(reward)
    with atomic_write(out) as part:
        part.write_text(json.dumps(models, indent=2) + "\n")
    print(json.dumps(models))


if __name__ == "__main__":
    flags.run(main)
