"""What other trainers are told of a selection: entries of their own configuration, as their documentation has them.

All of them read the same file, JSON lines of `messages` with `role` and `content`, the roles being `system`, `user` and
`assistant`. By these entries they train on what counts here: every response, with the end of its turn. Where some
examples have calls or reasoning, LLaMA-Factory reads a file of its own, because it writes calls as turns of their own.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from moesift.data.turns import handed, is_trained

DATA = "train.jsonl"  # `load_dataset(folder)` takes it for the split `train`, and no other file of the folder
OWN_DATA = "llama_factory.jsonl"
OWN_ROLES = {"tool": "observation"}  # LLaMA-Factory's, where they are others


def is_masked(message: Mapping[str, Any]) -> bool:
    """Return whether a turn is a response that is context only."""
    return message["role"] == "assistant" and not is_trained(message)


def as_handed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an example as TRL and axolotl document it: messages with calls and reasoning as keys, and `tools` beside.

    A response that is context only has `train: false`, which axolotl is told to heed.
    """
    turns, tools = handed(row["messages"])
    for turn, message in zip(turns, row["messages"], strict=True):
        if is_masked(message):
            turn["train"] = False
    return {**row, "messages": turns, **({"tools": tools} if tools else {})}


def as_llama_factory(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an example as LLaMA-Factory documents it: calls and results are turns, `tools` is JSON text.

    None where it has no place for something: reasoning, text beside calls, a response that is context only, or several
    results in a row.
    """
    turns, tools = handed(row["messages"])
    found = []
    for turn, message in zip(turns, row["messages"], strict=True):
        calls = [call["function"] for call in turn.get("tool_calls", ())]
        if "reasoning_content" in turn or is_masked(message) or (calls and turn["content"]):
            return None
        if calls:
            called = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
            found.append({"role": "function_call", "content": called})
        else:
            found.append({"role": OWN_ROLES.get(turn["role"], turn["role"]), "content": turn["content"]})
    if any(one["role"] == other["role"] == "observation" for one, other in itertools.pairwise(found)):
        return None
    functions = [tool["function"] for tool in tools or ()]
    return {**row, "messages": found, "tools": json.dumps(functions, ensure_ascii=False) if functions else ""}


def llama_factory(folder: Path, has_more: bool) -> dict[str, Any]:
    """Return the entry of LLaMA-Factory's `dataset_info.json`, with the tags of OpenAI's messages, by its name.

    Args:
        folder: .../{method}/{budget}/seed-{seed}, in which the file is beside it.
        has_more: some examples have calls, reasoning or the like, so that it has a file of its own.
    """
    tags = {"role_tag": "role", "content_tag": "content"}
    tags |= {f"{role}_tag": role for role in ("user", "assistant", "system")}
    entry = {"file_name": DATA, "formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    if has_more:
        tags |= {"function_tag": "function_call", "observation_tag": "observation"}
        entry |= {"file_name": OWN_DATA, "columns": {"messages": "messages", "tools": "tools"}}
    return {"-".join(folder.parts[-3:]): entry}


def axolotl(folder: Path) -> dict[str, Any]:
    """Return the key `datasets` of axolotl's configuration, which takes `tools` and what its template reads of a turn.

    Args:
        folder: of the file, as axolotl will find it from where it is started.
    """
    entry = {
        "path": str(folder / DATA),
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "message_field_training": "train",
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }
    return {"datasets": [entry]}


# The name and the content of the file of each format that needs one.
FILES: dict[str, tuple[str, Callable[[Path, bool], str]]] = {
    "llama_factory": ("dataset_info.json", lambda *given: json.dumps(llama_factory(*given), indent=2) + "\n"),
    "axolotl": ("axolotl.yaml", lambda folder, _: yaml.safe_dump(axolotl(folder), sort_keys=False)),
}
