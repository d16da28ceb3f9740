"""Tools, calls and reasoning of rows, in the layouts of public data sets, to what a chat template is handed."""

import io
import json

import polars as pl
import pytest
from given import tools
from given.tools import ANSWER, ASKED, CALL, RESULT, TOOLS, TURNS

from moesift.data.formats import to_messages
from moesift.data.groups import linked_groups
from moesift.data.keys import Rejected
from moesift.data.pool import MESSAGES, PLAIN, concatenated, content_id, texts, to_examples
from moesift.data.rows import Row, parse
from moesift.data.turns import handed, text_of

PLAIN_ROW = {"prompt": "a", "completion": "b"}


@pytest.mark.parametrize("name", ["OPENAI", "OPENAI_FUNCTIONS", "SHAREGPT"])
def test_every_layout_becomes_what_apply_chat_template_takes(name):
    turns, offered = handed(to_messages(getattr(tools, name), "auto"))
    links = {
        "OPENAI": {"tool_call_id": "call_1"},
        "OPENAI_FUNCTIONS": {"name": "get_weather"},
        "SHAREGPT": {},
    }[name]
    call = {"id": "call_1", **CALL} if name == "OPENAI" else CALL
    assert turns == [ASKED, {**TURNS[1], "tool_calls": [call]}, {**TURNS[2], **links}, TURNS[3]]
    assert offered == TOOLS


def test_answers_are_calls():
    """The layout of xLAM."""
    assert handed(to_messages(tools.XLAM, "auto")) == (tools.XLAM_TURNS, TOOLS)


def test_what_the_system_message_says_is_not_said_twice():
    """The layout of Hermes: calls are text, and so are the tools."""
    turns = to_messages(tools.HERMES, "auto")
    assert [set(turn) for turn in turns] == [{"role", "content"}] * 5
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "tool", "assistant"]
    as_python = {
        **tools.HERMES,
        "conversations": [{"from": "system", "value": f"{TOOLS}"}, *tools.HERMES["conversations"][1:]],
    }
    assert handed(to_messages(as_python, "auto"))[1] is None
    one_less = {**tools.HERMES, "tools": [*TOOLS, {"name": "get_date"}]}
    assert [tool["function"]["name"] for tool in handed(to_messages(one_less, "auto"))[1]] == [
        "get_weather", "get_time", "get_date",
    ]  # fmt: skip


def test_tools_are_beside_the_first_turn():
    system = {"role": "system", "content": "Be brief."}
    row = {**tools.OPENAI, "messages": [system, *tools.OPENAI["messages"]]}
    messages = to_messages(row, "auto")
    assert json.loads(messages[0]["more"]) == {"tools": TOOLS}
    assert set(messages[1]) == {"role", "content"}


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_has_one_name(key):
    turns, _ = handed(to_messages({"messages": [ASKED, {"role": "assistant", "content": "b", key: " Hm.\n"}]}, "auto"))
    assert turns[1] == {"role": "assistant", "content": "b", "reasoning_content": " Hm.\n"}


def test_of_two_thoughts_the_second_is_not_dropped():
    turn = {"role": "assistant", "content": "b", "thinking": "Hm.", "reasoning": "Hm."}
    assert handed(to_messages({"messages": [ASKED, turn]}, "auto"))[0][1]["reasoning_content"] == "Hm."
    with pytest.raises(Rejected, match=r"messages\[1\] has reasoning, which would be lost"):
        to_messages({"messages": [ASKED, {**turn, "reasoning": "Or."}]}, "auto")


def calling(calls, **more):
    return {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": calls}], **more}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (calling([{"id": 1}]), "messages[1].tool_calls[0] has no function with a name"),
        (calling([1]), "messages[1].tool_calls[0] has no function with a name"),
        (calling("get_weather()"), "messages[1].tool_calls is text that is not JSON"),
        (calling(7), "messages[1].tool_calls is neither a list nor an object"),
        (calling([{"name": "f", "arguments": "a=1"}]), "messages[1].tool_calls[0] has arguments that is not JSON"),
        (calling([{"name": "f", "arguments": "[1]"}]), "messages[1].tool_calls[0] has arguments that are not an"),
        (calling([{"name": "f", "arguments": {"a": "\ud800"}}]), "messages[1] cannot be written as JSON"),
        (calling([{"name": "f", "arguments": {"a": float("nan")}}]), "messages[1] cannot be written as JSON"),
        (calling([{"name": "f", "result": "21"}]), "messages[1].tool_calls[0] has result, which would be lost"),
        (calling([{"function": {"name": "f", "parameters": {"a": "b"}}}]),
         "messages[1].tool_calls[0] has parameters, which would be lost"),
        (calling([CALL], tools="a list of tools"), "tools is text that is not JSON"),
        (calling([CALL], tools=[{"description": "no name"}]), "tools[0] has no function with a name"),
        (calling([CALL], tools=7), "the row has tools, which would be lost"),
        (calling([]), "messages[1].content is null, not a string"),
        ({"query": "a", "answers": ["b"]}, "answers[0] is text that is not JSON"),
        ({"query": "a", "answers": []}, "a turn of assistant is blank"),
        ({**tools.OPENAI, "documents": ["gold"]}, "the row has documents, which would be lost"),
        ({"messages": [ASKED, {"role": "tool", "content": {"a": 1}}, TURNS[3]]}, "messages[1].content is an object"),
        ({"messages": [{**ASKED, "tool_calls": [CALL]}, TURNS[3]]}, "messages[0] has tool_calls, which would be lost"),
        ({"messages": [ASKED, {**TURNS[3], "tools": TOOLS}]}, "messages[1] has tools, which would be lost"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_rejected_by_its_name(row, reason):
    with pytest.raises(Rejected) as rejected:
        to_messages(row, "auto")
    assert str(rejected.value).startswith(reason)


@pytest.mark.parametrize("depth", [70, 400, 50_000])
def test_what_is_nested_too_deeply_is_rejected(depth):
    deep = "gold"
    for _ in range(depth):
        deep = [deep]
    rows = [calling([{"name": "f", "arguments": {"a": deep}}]), {**PLAIN_ROW, "tools": [{"name": "f", "a": deep}]}]
    for row in rows:
        with pytest.raises(Rejected, match="is nested more than 64 deep"):
            to_messages(row, "auto")
    text = '{"a":' + "[" * depth + "]" * depth + "}"
    with pytest.raises(Rejected, match=r"is nested more than 64 deep|has arguments that is not JSON"):
        to_messages(calling([{"name": "f", "arguments": text}]), "auto")


def test_ignored_keys_are_not_handed_on():
    turns, offered = handed(to_messages(tools.OPENAI, "auto", ["tools", "tool_call_id"]))
    assert offered is None
    assert turns[2] == TURNS[2]


def test_nulls_that_fill_the_objects_of_a_table_are_no_keys():
    """Each object of a parquet file has the keys of all others."""
    other = {"name": "get_time", "arguments": {"zone": "UTC"}}
    rows = [calling([CALL["function"]]), calling([other])]
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    read = list(parse("x.parquet", lambda: io.BytesIO(file.getvalue())).each)
    found = [handed(to_messages(row.content, "auto"))[0][1]["tool_calls"][0]["function"] for row in read]
    assert found == [CALL["function"], other]


def examples_of(*rows):
    return to_examples({"s": [Row(number, row) for number, row in enumerate(rows)]}, {"s": "auto"})[0]


def test_a_plain_pool_has_plain_messages():
    assert examples_of(PLAIN_ROW, tools.HERMES).schema["messages"] == PLAIN
    mixed = examples_of(PLAIN_ROW, tools.OPENAI)
    assert mixed.schema["messages"] == MESSAGES
    assert content_id(mixed["messages"][0].to_list()) == content_id(examples_of(PLAIN_ROW)["messages"][0].to_list())


def test_plain_and_other_messages_are_concatenated():
    plain, other = examples_of(PLAIN_ROW), examples_of(tools.XLAM)
    for frames in ([plain, other], [other, plain], [plain, plain]):
        together = concatenated(frames)
        assert [handed(turns) for turns in together["messages"].to_list()] == [
            handed(turns) for frame in frames for turns in frame["messages"].to_list()
        ]
    assert together.schema["messages"] == PLAIN


def test_ids_tell_apart_what_the_template_is_handed():
    silent = {"messages": [ASKED, {"role": "assistant", "content": ANSWER}]}
    thinking = {"messages": [ASKED, {"role": "assistant", "content": ANSWER, "thinking": "Hm."}]}
    masked = {"messages": [ASKED, {**TURNS[3], "weight": 0}, ASKED, TURNS[3]]}
    rows = [silent, {**silent, "tools": TOOLS}, {**silent, "tools": TOOLS[:1]}, thinking, masked]
    rows += [{**masked, "messages": [ASKED, TURNS[3], ASKED, TURNS[3]]}, calling([CALL]), calling([{"name": "f"}])]
    assert len({content_id(messages) for messages in examples_of(*rows)["messages"].to_list()}) == len(rows)


def test_texts_have_calls_and_reasoning_and_not_the_tools():
    (text,) = texts(examples_of(tools.XLAM))
    assert text.split("\n") == [ASKED["content"], "", "function", "get_weather", "Zürich", "2", "function", "get_time"]
    thought = {"role": "assistant", "content": "b", "more": '{"reasoning_content": "line\\nbreak", "train": false}'}
    assert text_of(thought) == "b\nline\nbreak"


def test_the_same_question_with_another_call_is_linked():
    """Whatever tools are offered; another result is another question for what follows."""
    first, second = calling([CALL], tools=TOOLS), calling([{"name": "get_time"}])
    others = [
        {"messages": [{**ASKED, "content": "Why?"}, *turns]}
        for turns in ([TURNS[3]], [{**TURNS[3], "thinking": "Hm."}])
    ]
    results = [
        {
            "messages": [
                {**ASKED, "content": text},
                TURNS[1],
                {"role": "tool", "content": RESULT},
                {**TURNS[3], "content": text},
            ]
        }
        for text in ("x", "y")
    ]
    groups = linked_groups(to_messages(row, "auto") for row in [first, second, *others, *results])
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 4
