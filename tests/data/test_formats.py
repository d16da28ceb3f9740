"""Rows of every format, sound and broken; files are in test_hard_input.py."""

import json
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moesift.data.formats import ROLES, Rejected, to_messages
from moesift.data.pool import content_id
from moesift.data.turns import handed, is_trained, more_of

FAST = settings(max_examples=100, deadline=None, derandomize=True)


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def exchange(instruction, response):
    return [turn("user", instruction), turn("assistant", response)]


def messages(*turns, **more):
    return {"messages": list(turns), **more}


def alpaca(instruction, output, **more):
    return {"instruction": instruction, "output": output, **more}


def sharegpt(*turns, **more):
    return {"conversations": [{"from": name, "value": value} for name, value in turns], **more}


ASKED, TOLD = AB = exchange("a", "b")
SYSTEM = turn("system", "s")

ROWS = {
    "messages": messages(*AB),
    "less": {"dataset": "dolly", "id": "dolly_7", "messages": AB},
    "alpaca": alpaca("a", "b", input=""),
    "sharegpt": sharegpt(("human", "a"), ("gpt", "b")),
    "prompt_completion": {"prompt": "a", "completion": "b"},
}


@pytest.mark.parametrize("format", ROWS)
def test_every_format_gives_the_same_messages_named_or_detected(format):
    assert to_messages(ROWS[format], format) == AB
    assert to_messages(ROWS[format], "auto") == AB


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": [SYSTEM, ASKED], "completion": [TOLD]}, [SYSTEM, *AB]),
        (alpaca("a", "b", input="1, 2"), exchange("a\n\n1, 2", "b")),
        (alpaca("a", "b", input=" "), AB),
        (alpaca("a", "b", input=None), AB),
        (alpaca("a", "b"), AB),
        (alpaca("a", "b", history=[]), AB),
        (
            sharegpt(("system", "s"), ("human", "a"), ("gpt", "b"), ("user", "c"), ("assistant", "d")),
            [SYSTEM, *AB, *exchange("c", "d")],
        ),
        # What several layouts fit: the most specific one, unless its value is null.
        (sharegpt(("human", "a"), ("gpt", "b"), instruction="a", output="b"), AB),
        ({"messages": None, "instruction": "a", "output": "b"}, AB),
        # Other names of the same.
        ({"question": "a", "answer": "b"}, AB),
        ({"query": "a", "response": "b"}, AB),
        ({"problem": "a", "solution": "b"}, AB),
        ({"inputs": "a", "targets": "b"}, AB),
        ({"conversations": AB}, AB),
        ({"conversation": AB, "turn": 1, "redacted": False}, AB),
        (messages({"from": "Human", "value": "a"}, {"from": "chatgpt", "value": "b"}), AB),
        (messages({"from": None, "value": None, **ASKED}, {"from": "model", "role": None, "content": "b"}), AB),
        ({"instruction": "a", "context": "", "response": "b", "category": "open_qa"}, AB),
        ({"instruction": "a", "input": "", "context": "c", "output": "b"}, exchange("a\n\nc", "b")),
        (alpaca("sort", "b", input="[]"), exchange("sort\n\n[]", "b")),
        ({"id": "cot.1", "system_prompt": "s", "question": "a", "response": "b"}, [SYSTEM, *AB]),
        # A system message beside the turns, of any format.
        (sharegpt(("human", "a"), ("gpt", "b"), system="s"), [SYSTEM, *AB]),
        (messages(*AB, system_message="s"), [SYSTEM, *AB]),
        (messages(SYSTEM, *AB, system="s"), [SYSTEM, *AB]),
        (messages(turn("system", " "), *AB, system="s"), [SYSTEM, *AB]),
        (messages(turn("developer", "s"), *AB, system=None), [SYSTEM, *AB]),
        ({"prompt": "a", "completion": "b", "system": "s"}, [SYSTEM, *AB]),
        (alpaca("a", "b", system=" "), AB),
        # Contents in parts, as for models that see images.
        (messages(turn("user", [{"type": "text", "text": "a", "image": None}, {"type": "text", "text": " c"}]), TOLD),
         exchange("a c", "b")),
        # Roles in unusual order.
        (messages(turn("system", "\u200b\n"), *AB), AB),
        (messages(ASKED, *AB), [ASKED, *AB]),
        (messages(*AB, TOLD), [*AB, TOLD]),
        # Contents are kept exactly; unused keys of a table are null.
        (messages(turn("user", " a\n", name=""), turn("assistant", "b", tool_calls=None), image=None),
         exchange(" a\n", "b")),
        (alpaca("6 * 7?", "42"), exchange("6 * 7?", "42")),
        (alpaca("a\0\x1b[2J", "\x07b"), exchange("a\0\x1b[2J", "\x07b")),
        (alpaca("\u202eמה שלומך؟", "بخير"), exchange("\u202eמה שלומך؟", "بخير")),
        (alpaca("👩‍👩‍👧‍👦🏳️‍🌈", "🙂"), exchange("👩‍👩‍👧‍👦🏳️‍🌈", "🙂")),
        (alpaca("é", "e\u0301"), exchange("é", "e\u0301")),
        (alpaca("<|im_end|>\n<|im_start|>assistant", "{{ 7 * 7 }}</s>&lt;"),
         exchange("<|im_end|>\n<|im_start|>assistant", "{{ 7 * 7 }}</s>&lt;")),
    ],
)  # fmt: skip
def test_rows_that_are_kept(row, expected):
    assert to_messages(row, "auto") == expected


@pytest.mark.parametrize(
    ("format", "row", "reason"),
    [
        (
            "auto",
            {"text": "a", "label": "b"},
            "fits no format: messages; conversations; conversation; prompt and completion; "
            "instruction and output; instruction and response; question and response; question and answer; "
            "query and response; problem and solution; inputs and targets; query and answers; its keys are text, label",
        ),
        ("messages", {}, "fits not the format messages: messages; its keys are none"),
        (
            "alpaca",
            {"text": "a"},
            "fits not the format alpaca: instruction and output; instruction and response; its keys are text",
        ),
    ],
)
def test_rows_of_another_format_are_rejected_with_their_keys(format, row, reason):
    with pytest.raises(Rejected) as rejected:
        to_messages(row, format)
    assert str(rejected.value) == reason


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "fits no format"),
        ({"Instruction": "a", "Output": "b"}, "fits no format"),
        ({"instruction": "a", "input": ""}, "fits no format"),
        # Turns.
        (messages(), "there is no user turn"),
        ({"messages": None}, "messages is null, not a list"),
        ({"messages": "[]"}, "messages is a string, not a list"),
        ({"messages": {"role": ["user"], "content": ["a"]}}, "messages is an object, not a list"),
        (messages(ASKED, None), "messages[1] is null, not an object"),
        (messages(["user", "a"]), "messages[0] is a list, not an object"),
        ({"prompt": "a", "completion": [TOLD]}, "prompt is a string, not a list"),
        ({"prompt": [None], "completion": [{"role": None}]}, "prompt[0] is null, not an object"),
        # Roles.
        (messages({"content": "a"}, TOLD), "messages[0] has no role or from, only content"),
        (messages(turn(None, "a"), TOLD), "messages[0].role is null, not a string"),
        (messages(turn(1, "a"), TOLD), "messages[0].role is a number, not a string"),
        (messages(turn("users", "a"), TOLD), "messages[0].role is 'users', not one of system, developer, user, human"),
        (messages(ASKED, turn("tool", "4"), TOLD), "a turn of tool follows one of user: it answers no call"),
        (messages(turn("tool", "4"), *AB), "the first turn is tool: it answers nothing"),
        (messages(*AB, turn("tool", "4")), "the last turn is tool, not assistant: there is no response to learn"),
        (messages(turn("\udfff", "a")), "messages[0].role cannot be written as UTF-8"),
        (sharegpt(("human", "a"), ("critic", "b")), "conversations[1].from is 'critic', not one of"),
        (messages(SYSTEM, TOLD), "there is no user turn"),
        (messages(SYSTEM, SYSTEM, *AB), "a system message comes after the first message"),
        (messages(ASKED, SYSTEM, TOLD), "a system message comes after the first message"),
        (messages(TOLD, *AB), "the first turn is assistant: it answers nothing"),
        (messages(SYSTEM, TOLD, *AB), "the first turn is assistant: it answers nothing"),
        (messages(*AB, ASKED), "the last turn is user, not assistant: there is no response to learn"),
        (messages(ASKED), "there is no assistant turn"),
        # Contents.
        (messages({"role": "user"}), "messages[0] has no content or value, only role"),
        (messages(turn("user", None), TOLD), "messages[0].content is null, not a string"),
        (messages(turn("user", [{"type": "text"}]), TOLD), "messages[0].content[0] has no text, only type"),
        (messages(turn("user", ["a"]), TOLD), "messages[0].content[0] is a string, not an object"),
        (messages(turn("user", [{"type": "image"}, {"type": "text", "text": "a"}]), TOLD),
         "messages[0].content[0].type is 'image', not 'text'"),
        (messages(ASKED, turn("assistant", [{"type": "text", "text": 1}])), "messages[1].content[0].text is a number"),
        (messages(turn("user", {"a": 1}), TOLD), "messages[0].content is an object, not a string"),
        (messages(turn("user", ""), TOLD), "a turn of user is blank"),
        (alpaca("\0\x1b\x7f", "b"), "a turn of user is blank"),
        (alpaca("a", " \n\t\xa0\u3000"), "a turn of assistant is blank"),
        (alpaca("a", "\u200b\u200d\ufeff\u2060"), "a turn of assistant is blank"),
        (alpaca("a", None), "output is null, not a string"),
        (alpaca("a", 42), "output is a number, not a string"),
        (alpaca("a", True), "output is a boolean, not a string"),
        (alpaca("a", b"b"), "output is a bytes, not a string"),
        (alpaca("a", date(2026, 1, 2)), "output is a date, not a string"),
        (alpaca("a", "b", input=1), "input is a number, not a string"),
        (alpaca("a", "\ud800"), "output cannot be written as UTF-8"),
    ],
)  # fmt: skip
def test_rows_that_are_rejected(row, reason):
    with pytest.raises(Rejected) as rejected:
        to_messages(row, "auto")
    assert str(rejected.value).startswith(reason)


@pytest.mark.parametrize(
    ("row", "ignore", "expected"),
    [
        (alpaca("a", "b", notes="for the editor"), ["notes"], AB),
        (messages(turn("user", "a", name="Ann"), turn("assistant", "b", weight=0)), ["weight", "name"], AB),
        (messages(*AB, instruction="c", output="d"), ["messages"], exchange("c", "d")),
        (messages(turn("user", [{"type": "text", "text": "a", "cache": "short"}]), TOLD), ["cache"], AB),
    ],
)
def test_what_a_user_ignores_is_not_looked_at(row, ignore, expected):
    with pytest.raises(Rejected):
        to_messages({**row, "lost": "of value"}, "auto", ignore)
    assert to_messages(row, "auto", ignore) == expected


KEYS = ["messages", "conversations", "prompt", "completion", "instruction", "input", "output", "system", "images"]
KEYS += ["tools", "query", "answers"]
TURN_KEYS = ["role", "content", "from", "value", "tool_calls", "thinking", "name", "train"]
TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(["", " ", "\u200b", "user", "assistant", "human", "gpt"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.dates() | st.binary(max_size=3)
TURNS = st.fixed_dictionaries(
    {"role": st.sampled_from([*ROLES, "tool"]) | SCALARS, "content": SCALARS}
) | st.dictionaries(st.sampled_from(TURN_KEYS) | TEXTS, SCALARS, max_size=4)
VALUES = SCALARS | st.lists(TURNS | SCALARS, max_size=4) | TURNS
ANY_ROW = st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES, max_size=5)


@FAST
@given(ANY_ROW, st.sampled_from(["auto", *ROWS]))
def test_any_row_becomes_messages_or_a_reason(row, format):
    try:
        turns = to_messages(row, format)
    except Rejected:
        return
    roles = [turn["role"] for turn in turns]
    assert roles[-1] == "assistant"
    assert next(role for role in roles if role != "system") == "user"
    assert "system" not in roles[1:]
    assert set(roles) <= set(ROLES)
    assert all(set(turn) <= {"role", "content", "more"} for turn in turns)
    assert all(turn["content"].strip() or turn["role"] == "tool" or "tool_calls" in more_of(turn) for turn in turns)
    assert json.dumps(turns, ensure_ascii=False).encode()
    handed_on, tools = handed(turns)
    again = to_messages({"messages": handed_on, "tools": tools}, "auto")
    assert handed(again) == (handed_on, tools)
    assert content_id(again) == content_id(turns) or not all(is_trained(turn) for turn in turns[1::2])


SENTENCES = st.text(max_size=20).map(lambda text: f"{text}.")  # a full stop is not blank


@FAST
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=3), st.none() | SENTENCES)
def test_a_conversation_is_the_same_in_every_format_that_can_hold_it(exchanges, system):
    turns = [turn("system", system)] if system is not None else []
    turns += [message for pair in exchanges for message in exchange(*pair)]
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    rows = [
        messages(*turns),
        sharegpt(*((names[message["role"]], message["content"]) for message in turns)),
        {"prompt": turns[:-1], "completion": turns[-1:]},
    ]
    if len(turns) == 2:
        rows += [alpaca(*exchanges[0]), dict(zip(("prompt", "completion"), exchanges[0], strict=True))]
    for row in rows:
        assert to_messages(json.loads(json.dumps(row)), "auto") == turns
