"""Examples with tools, calls, reasoning and responses that are context, as other trainers are given them."""

import json
from pathlib import Path

import polars as pl
import pytest
from datasets import load_dataset
from given import tools
from given.chats import tokenizer_of
from given.tools import ANSWER, ASKED, CALL, RESULT, TAGGED, TOOLS, TURNS, WEATHER, XLAM_TURNS

from moesift import flags
from moesift.data.pool import MESSAGES, PLAIN, to_examples
from moesift.data.rows import Row
from moesift.stages import export, select_queries

PLAIN_ROW = {"prompt": "a", "completion": "b"}
THINKING = {"messages": [ASKED, {"role": "assistant", "content": ANSWER, "thinking": "Hm."}]}
MASKED = {"messages": [ASKED, {**TURNS[3], "weight": 0}, ASKED, TURNS[3]]}
ROWS = [PLAIN_ROW, tools.OPENAI, tools.XLAM, tools.HERMES, THINKING, MASKED]


def selected(*rows):
    examples, rejected = to_examples({"s": [Row(number, row) for number, row in enumerate(rows)]}, {"s": "auto"})
    assert rejected.is_empty()
    ids = [f"{number}" for number in range(len(rows))]
    return examples.select("messages", "finished", "source", "source_index", id=pl.Series(ids), rank=1, score=None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return "exported/rds/ratio-0.1/seed-0"


def exported(folder, *formats, rows=ROWS):
    selected(*rows).write_parquet("selection.parquet")
    words = ["--selection", "selection.parquet", "--formats", *formats, "--out", folder]
    export.main(**flags.parsed(export.main, words))


def lines(path):
    with open(path, encoding="utf-8") as file:
        return list(map(json.loads, file))


def test_plain_examples_are_written_as_if_there_were_no_others(folder):
    exported(folder, "llama_factory", rows=[PLAIN_ROW, tools.HERMES])
    assert all(set(turn) == {"role", "content"} for row in lines(f"{folder}/train.jsonl") for turn in row["messages"])
    (entry,) = json.loads(Path(f"{folder}/dataset_info.json").read_text()).values()
    assert entry["file_name"] == "train.jsonl"


def test_trl_and_axolotl_get_what_the_template_takes(folder, capsys):
    exported(folder, "axolotl")
    plain, openai, xlam, hermes, thinking, masked = lines(f"{folder}/train.jsonl")
    assert plain["messages"] == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert "tools" not in plain
    assert openai["tools"] == TOOLS
    assert openai["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", **CALL}]}
    assert openai["messages"][2] == {"role": "tool", "content": RESULT, "tool_call_id": "call_1"}
    assert xlam["messages"] == XLAM_TURNS
    assert [set(turn) for turn in hermes["messages"]] == [{"role", "content"}] * 5
    assert thinking["messages"][1] == {"role": "assistant", "content": ANSWER, "reasoning_content": "Hm."}
    assert [turn.get("train") for turn in masked["messages"]] == [None, False, None, None]
    assert "1 have responses with `train: false`: axolotl leaves them out" in capsys.readouterr().out


def test_what_is_loaded_again_is_rendered_as_before(folder):
    """As TRL does: `messages` and `tools` of a data set of JSON lines, in which arguments differ by example."""
    exported(folder, "jsonl")
    data = load_dataset(folder, cache_dir="cache", split="train")
    tokenizer = tokenizer_of("byte-level", TAGGED)
    for row, turns in ((data[1], TURNS), (data[2], XLAM_TURNS)):
        written = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
        assert written == tokenizer.apply_chat_template(turns, tools=TOOLS, tokenize=False)


def test_llama_factory_has_turns_for_calls_and_leaves_out_what_it_has_no_place_for(folder, capsys):
    several = {"messages": [ASKED, TURNS[1], TURNS[2], TURNS[2], TURNS[3]]}
    talking = {"messages": [ASKED, {**TURNS[1], "content": "Hm."}]}
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
