"""What other trainers are told of a selection: entries of their own configuration, as their documentation has them.

All of them read the same file, JSON lines of `messages` with `role` and `content`, the roles being `system`, `user` and
`assistant`. By these entries they train on what counts here: every response, with the end of its turn.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

DATA = "train.jsonl"  # `load_dataset(folder)` takes it for the split `train`, and no other file of the folder


def llama_factory(folder: Path) -> dict[str, Any]:
    """Return the entry of LLaMA-Factory's `dataset_info.json`, with the tags of OpenAI's messages, by its name.

    Args:
        folder: .../{method}/{budget}/seed-{seed}, in which the file is beside it.
    """
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {f"{role}_tag": role for role in ("user", "assistant", "system")}
    entry = {"file_name": DATA, "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    return {"-".join(folder.parts[-3:]): entry}


def axolotl(folder: Path) -> dict[str, Any]:
    """Return the key `datasets` of axolotl's configuration.

    Args:
        folder: of the file, as axolotl will find it from where it is started.
    """
    entry = {
        "path": str(folder / DATA),
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
    return {"datasets": [entry]}


# The name and the content of the file of each format that needs one.
FILES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "llama_factory": ("dataset_info.json", lambda folder: json.dumps(llama_factory(folder), indent=2) + "\n"),
    "axolotl": ("axolotl.yaml", lambda folder: yaml.safe_dump(axolotl(folder), sort_keys=False)),
}
