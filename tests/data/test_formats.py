import pytest

from moesift.data.formats import Rejected, to_messages

ASKED = [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Iron"}]

ROWS = {
    "messages": {"messages": ASKED},
    "less": {"dataset": "dolly", "id": "dolly_7", "messages": ASKED},
    "alpaca": {"instruction": "Name a metal.", "input": "", "output": "Iron"},
    "sharegpt": {
        "conversations": [{"from": "human", "value": "Name a metal."}, {"from": "gpt", "value": "Iron"}],
    },
    "prompt_completion": {"prompt": "Name a metal.", "completion": "Iron"},
}


@pytest.mark.parametrize("format", ROWS)
def test_every_format_becomes_the_same_messages_named_or_told_by_its_keys(format):
    assert to_messages(ROWS[format], format) == ASKED
    assert to_messages(ROWS[format], "auto") == ASKED


def test_conversational_prompt_and_completion():
    row = {"prompt": [{"role": "system", "content": "Be brief."}, ASKED[0]], "completion": [ASKED[1]]}
    assert to_messages(row, "prompt_completion") == [{"role": "system", "content": "Be brief."}, *ASKED]


@pytest.mark.parametrize(
    ("given", "content"),
    [
        ({"input": "1, 2"}, "Add these.\n\n1, 2"),
        ({"input": " "}, "Add these."),
        ({"input": None}, "Add these."),
        ({}, "Add these."),
    ],
)
def test_alpaca_input_follows_the_instruction_where_there_is_one(given, content):
    messages = to_messages({"instruction": "Add these.", "output": "3", **given}, "alpaca")
    assert messages == [{"role": "user", "content": content}, {"role": "assistant", "content": "3"}]


def test_sharegpt_names_and_a_system_prompt():
    turns = [("system", "Be brief."), ("human", "a"), ("gpt", "b"), ("user", "c"), ("assistant", "d")]
    row = {"conversations": [{"from": name, "value": value} for name, value in turns]}
    assert [turn["role"] for turn in to_messages(row, "auto")] == ["system", "user", "assistant", "user", "assistant"]


def test_contents_stay_to_the_letter_and_extra_keys_go():
    row = {"messages": [{"role": "user", "content": " a\n", "name": "x"}, {**ASKED[1], "tool_calls": None}]}
    assert to_messages(row, "messages") == [{"role": "user", "content": " a\n"}, ASKED[1]]


def test_a_blank_system_message_counts_as_none():
    assert to_messages({"messages": [{"role": "system", "content": " "}, *ASKED]}, "messages") == ASKED


def user(content):
    return {"messages": [{"role": "user", "content": content}, ASKED[1]]}


@pytest.mark.parametrize(
    ("row", "format", "reason"),
    [
        ({}, "messages", "the row has no messages, only nothing"),
        ({"messages": "hi"}, "messages", "messages is a string, not a list"),
        ({"messages": ["hi"]}, "messages", "messages[0] is a string, not an object"),
        ({"messages": [{"from": "human", "value": "a"}]}, "messages", "messages[0] has no role, only from, value"),
        ({"messages": [{"role": "user"}]}, "messages", "messages[0] has no content, only role"),
        ({"messages": []}, "messages", "there is no user turn"),
        ({"messages": ASKED[:1]}, "messages", "there is no assistant turn"),
        ({"messages": ASKED[1:]}, "messages", "there is no user turn"),
        (
            {"messages": [*ASKED, ASKED[0]]},
            "messages",
            "the last turn is user, not assistant: there is no response to learn",
        ),
        (
            {"messages": [ASKED[0], {"role": "system", "content": "b"}, ASKED[1]]},
            "messages",
            "a system message comes after the first message",
        ),
        (user(None), "messages", "messages[0].content is null, not a string"),
        (user([{"type": "image"}]), "messages", "messages[0].content is a list, not a string"),
        (user(3), "messages", "messages[0].content is a number, not a string"),
        (user("  \n"), "messages", "a turn of user is blank"),
        (user("\ud800"), "messages", "messages[0].content cannot be written as UTF-8"),
        (
            {"messages": [ASKED[0], {"role": "tool", "content": "4"}]},
            "messages",
            "messages[1].role is 'tool', not one of system, user, assistant",
        ),
        (
            {"messages": [ASKED[0], {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
            "messages",
            "messages[1] has tool_calls, which is not text",
        ),
        ({"instruction": "a", "output": None}, "alpaca", "output is null, not a string"),
        ({"instruction": "a", "input": ["b"], "output": "c"}, "alpaca", "input is a list, not a string"),
        (
            {"conversations": [{"from": "function", "value": "a"}]},
            "sharegpt",
            "conversations[0].from is 'function', not one of system, human, user, gpt, assistant",
        ),
        ({"prompt": "a", "completion": ""}, "prompt_completion", "a turn of assistant is blank"),
        ({"prompt": "a", "completion": [ASKED[1]]}, "prompt_completion", "prompt is a string, not a list"),
        (
            {"question": "a", "answer": "b"},
            "auto",
            "fits no format, known are messages (messages); conversations (sharegpt); prompt and completion "
            "(prompt_completion); instruction and output (alpaca); its keys are question, answer",
        ),
    ],
)
def test_what_is_no_example_is_rejected_with_its_reason(row, format, reason):
    with pytest.raises(Rejected) as rejected:
        to_messages(row, format)
    assert str(rejected.value) == reason
