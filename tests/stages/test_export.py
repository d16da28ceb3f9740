"""The files for other trainers, read by what their documentation says, written out here once more."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
import yaml
from datasets import load_dataset
from given import tools
from given.chats import tokenizer_of
from given.markdown import blocks
from given.tools import ASKED, CALL, RESULT, TAGGED, TOOLS, WEATHER, XLAM_TURNS

from moesift import flags
from moesift.data.pool import MESSAGES, PLAIN, to_examples
from moesift.data.rows import Row
from moesift.stages import export, select_queries

SYSTEM = {"role": "system", "content": "Be brief."}
ASK, ANSWER = {"role": "user", "content": 'Ann\'s "1\u2028\n2"?'}, {"role": "assistant", "content": "はい 🙂"}
AGAIN, MORE = {"role": "user", "content": "2024-01-01"}, {"role": "assistant", "content": "12"}
TALKS = [[SYSTEM, ASK, ANSWER, AGAIN, MORE], [AGAIN, ANSWER], [ASK, AGAIN, MORE]]  # the last one repeats a role

# Examples with tools, calls, reasoning and responses that are context.
PLAIN_ROW = {"prompt": "a", "completion": "b"}
THINKING = {"messages": [ASKED, {"role": "assistant", "content": tools.ANSWER, "thinking": "Hm."}]}
MASKED = {"messages": [ASKED, {**tools.TURNS[3], "weight": 0}, ASKED, tools.TURNS[3]]}
ROWS = [PLAIN_ROW, tools.OPENAI, tools.XLAM, tools.HERMES, THINKING, MASKED]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a run writes: results/demo/exported/rds/ratio-0.1/seed-0, as it is called there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = {"id": ["0123456789012345", "b", "c"], "rank": [1, 2, 3], "score": [None, 2.5, 1.0], "messages": TALKS}
    pl.DataFrame(rows).with_columns(source=pl.lit("2024-01-01"), finished=True).write_parquet("seed-0.parquet")
    return "results/demo/exported/rds/ratio-0.1/seed-0"


def selected(*rows):
    examples, rejected = to_examples({"s": [Row(number, row) for number, row in enumerate(rows)]}, {"s": "auto"})
    assert rejected.is_empty()
    ids = [f"{number}" for number in range(len(rows))]
    return examples.select("messages", "finished", "source", "source_index", id=pl.Series(ids), rank=1, score=None)


def exported(folder, *formats, rows=None):
    """Export the talks, or the examples of other rows."""
    if rows is not None:
        selected(*rows).write_parquet("seed-0.parquet")
    words = ["--selection", "seed-0.parquet", "--formats", *formats, "--out", folder]
    export.main(**flags.parsed(export.main, words))
    return sorted(os.listdir(folder))


def lines(path):
    return [json.loads(line) for line in Path(path).read_text().removesuffix("\n").split("\n")]


def llama_factory(dataset_dir, dataset):
    """Return what LLaMA-Factory makes of a data set: the system text, and pairs of a question and its answer.

    A data set of the format sharegpt is read by its columns and tags; an absent tag is none at all. Turns of the user
    stand in odd places, those of the assistant in even ones; an example in which they do not is skipped.
    """
    entry = json.loads(Path(f"{dataset_dir}/dataset_info.json").read_text())[dataset]
    assert entry["formatting"] == "sharegpt"
    tags, found = entry["tags"], []
    for row in lines(f"{dataset_dir}/{entry['file_name']}"):
        turns = [(turn[tags["role_tag"]], turn[tags["content_tag"]]) for turn in row[entry["columns"]["messages"]]]
        system = turns.pop(0)[1] if turns[0][0] == tags["system_tag"] else ""
        pair = [tags["user_tag"], tags["assistant_tag"]]
        if [role for role, _ in turns] == pair * (len(turns) // 2):
            texts = [text for _, text in turns]
            found.append((system, list(zip(texts[::2], texts[1::2], strict=True))))
    return found


def axolotl(entry):
    """Return what axolotl gives to the chat template, and whether each turn is trained on, by an entry of `datasets`.

    The properties that the template reads are mapped to those of the file, and names of roles to the template's.
    """
    assert entry["type"] == "chat_template"
    roles = {"human": "user", "user": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
    rows = load_dataset(entry["ds_type"], data_files=entry["path"], split="train", cache_dir="cache")
    found = []
    for row in rows:
        turns = [
            {name: turn[key] for name, key in entry["message_property_mappings"].items()}
            for turn in row[entry["field_messages"]]
        ]
        turns = [turn | {"role": roles[turn["role"]]} for turn in turns]
        found.append([(turn, turn["role"] in entry["roles_to_train"]) for turn in turns])
    return found


def is_conversational(row):
    """Return whether TRL takes a row for a conversation to train on: `messages` of `role` and `content`, no prompt."""
    texts = all(set(turn) == {"role", "content"} and isinstance(turn["content"], str) for turn in row["messages"])
    return texts and not {"prompt", "completion", "chosen", "rejected", "text", "images", "tools"} & set(row)


def test_lines_of_messages_are_what_trl_takes(folder):
    assert exported(folder, "jsonl") == ["train.jsonl"]
    rows = lines(f"{folder}/train.jsonl")
    assert [row["messages"] for row in rows] == TALKS
    assert all(map(is_conversational, rows))
    assert rows[1] == {
        "id": "b",
        "rank": 2,
        "score": 2.5,
        "messages": TALKS[1],
        "source": "2024-01-01",
        "finished": True,
    }


def test_what_is_written_loads_as_a_data_set(folder):
    exported(folder, "jsonl", "llama_factory", "axolotl")
    given = {
        "folder": (folder, None),
        "lines": ("json", f"{folder}/train.jsonl"),
        "selection": ("parquet", "seed-0.parquet"),
    }
    for name, (path, files) in given.items():
        data = load_dataset(path, data_files=files, cache_dir="cache")
        assert list(data) == ["train"], name
        assert list(data["train"]["messages"]) == TALKS, name
        assert all(map(is_conversational, data["train"])), name


def test_llama_factory_is_told_columns_and_tags(folder, capsys):
    assert exported(folder, "llama_factory") == ["dataset_info.json", "train.jsonl"]
    first = ("Be brief.", [(ASK["content"], "はい 🙂"), ("2024-01-01", "12")])
    assert llama_factory(folder, "rds-ratio-0.1-seed-0") == [first, ("", [("2024-01-01", "はい 🙂")])]
    assert "1 have two turns of one role in a row: LLaMA-Factory skips them" in capsys.readouterr().out


def test_axolotl_is_told_fields_and_what_counts(folder):
    assert exported(folder, "axolotl") == ["axolotl.yaml", "train.jsonl"]
    (entry,) = yaml.safe_load(Path(f"{folder}/axolotl.yaml").read_text())["datasets"]
    assert axolotl(entry) == [[(turn, turn["role"] == "assistant") for turn in talk] for talk in TALKS]


def test_fewer_formats_leave_no_file_of_another(folder):
    exported(folder, "llama_factory", "axolotl")
    assert exported(folder, "jsonl") == ["train.jsonl"]


def test_the_page_shows_what_is_written(folder):
    trainer, axolotl_shown, _ = blocks("docs/sharing.md", "yaml")
    folder = yaml.safe_load(trainer)["dataset_dir"]
    exported(folder, "llama_factory", "axolotl")
    (shown,) = blocks("docs/sharing.md", "json")
    assert json.loads(shown) == json.loads(Path(f"{folder}/dataset_info.json").read_text())
    assert list(json.loads(shown)) == [yaml.safe_load(trainer)["dataset"]]
    assert axolotl_shown == Path(f"{folder}/axolotl.yaml").read_text()


def test_plain_examples_are_written_as_if_there_were_no_others(folder):
    exported(folder, "llama_factory", rows=[PLAIN_ROW, tools.HERMES])
    assert all(set(turn) == {"role", "content"} for row in lines(f"{folder}/train.jsonl") for turn in row["messages"])
    (entry,) = json.loads(Path(f"{folder}/dataset_info.json").read_text()).values()
    assert entry["file_name"] == "train.jsonl"


def test_trl_and_axolotl_get_what_the_template_takes(folder, capsys):
    exported(folder, "axolotl", rows=ROWS)
    plain, openai, xlam, hermes, thinking, masked = lines(f"{folder}/train.jsonl")
    assert plain["messages"] == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert "tools" not in plain
    assert openai["tools"] == TOOLS
    assert openai["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", **CALL}]}
    assert openai["messages"][2] == {"role": "tool", "content": RESULT, "tool_call_id": "call_1"}
    assert xlam["messages"] == XLAM_TURNS
    assert [set(turn) for turn in hermes["messages"]] == [{"role", "content"}] * 5
    assert thinking["messages"][1] == {"role": "assistant", "content": tools.ANSWER, "reasoning_content": "Hm."}
    assert [turn.get("train") for turn in masked["messages"]] == [None, False, None, None]
    assert "1 have responses with `train: false`: axolotl leaves them out" in capsys.readouterr().out


def test_what_is_loaded_again_is_rendered_as_before(folder):
    """As TRL does: `messages` and `tools` of a data set of JSON lines, in which arguments differ by example."""
    exported(folder, "jsonl", rows=ROWS)
    data = load_dataset(folder, cache_dir="cache", split="train")
    tokenizer = tokenizer_of("byte-level", TAGGED)
    for row, turns in ((data[1], tools.TURNS), (data[2], XLAM_TURNS)):
        written = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
        assert written == tokenizer.apply_chat_template(turns, tools=TOOLS, tokenize=False)


def test_llama_factory_has_turns_for_calls_and_leaves_out_what_it_has_no_place_for(folder, capsys):
    several = {"messages": [ASKED, tools.TURNS[1], tools.TURNS[2], tools.TURNS[2], tools.TURNS[3]]}
    talking = {"messages": [ASKED, {**tools.TURNS[1], "content": "Hm."}]}
    exported(folder, "llama_factory", rows=[*ROWS, several, talking])
    (entry,) = json.loads(Path(f"{folder}/dataset_info.json").read_text()).values()
    assert entry == {
        "file_name": "llama_factory.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "tools": "tools"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
            "function_tag": "function_call",
            "observation_tag": "observation",
        },
    }
    rows = {row["id"]: row for row in lines(f"{folder}/llama_factory.jsonl")}
    assert list(rows) == ["0", "1", "2", "3"]
    functions = [WEATHER, TOOLS[1]["function"]]
    assert [json.loads(row["tools"] or "[]") for row in rows.values()] == [[], functions, functions, []]
    called = rows["1"]["messages"]
    assert [turn["role"] for turn in called] == ["user", "function_call", "observation", "assistant"]
    assert json.loads(called[1]["content"]) == CALL["function"]
    assert called[2] == {"role": "observation", "content": RESULT}
    assert [call["name"] for call in json.loads(rows["2"]["messages"][1]["content"])] == ["get_weather", "get_time"]
    assert [turn["role"] for turn in rows["3"]["messages"]] == [
        "system",
        "user",
        "assistant",
        "observation",
        "assistant",
    ]
    assert "4 are not in llama_factory.jsonl" in capsys.readouterr().out


def test_queries_with_and_without_tools_are_one_selection(tmp_path):
    paths = []
    for name, row, kind in (("plain", PLAIN_ROW, PLAIN), ("tools", tools.OPENAI, MESSAGES)):
        queries = selected(row).with_columns(id=pl.lit(name))
        assert queries.schema["messages"] == kind
        queries.write_parquet(tmp_path / name)
        paths.append(tmp_path / name)
    select_queries.main(queries=paths, out=tmp_path / "out", dropped=tmp_path / "dropped")
    found = pl.read_parquet(tmp_path / "out")
    assert found["id"].to_list() == ["plain", "tools"]
    assert [turn["more"] is None for turn in found["messages"][1]] == [False, False, False, True]
