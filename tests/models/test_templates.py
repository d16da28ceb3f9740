"""Tools, calls and reasoning as a template writes them: against `apply_chat_template`, on the layouts of data sets."""

import itertools
import json

import pytest
from given import tools
from given.chats import KINDS, tokenizer_of, written
from given.tools import ANSWER, ASKED, BRACKETS, CALL, CHANNELS, RESULT, TAGGED, TOOLS, TURNS, XLAM_TURNS
from hypothesis import given, settings
from hypothesis import strategies as st

from moesift.data.formats import to_messages
from moesift.models.chat import encode, with_template
from moesift.models.templates import PLAIN_TEMPLATE, PRIVATE_USE

QUESTION = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
TAGGED_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}\n</tool_call>'
TAGGED_TIME = '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'
ARRAY = '{"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}'
TIME_ONLY = {"type": "function", "function": {"name": "get_time", "arguments": {}}}


def messages_of(turns, offered=None):
    return to_messages({"messages": turns, "tools": offered}, "auto")


def encoded(template, messages, kind="byte-level"):
    tokenizer = with_template(tokenizer_of(kind, template))
    (example,) = encode([messages], tokenizer, 2000)
    return tokenizer, example


def responses_of(tokenizer, example):
    runs = itertools.groupby(zip(example.ids, example.response, strict=True), key=lambda pair: pair[1])
    return [tokenizer.decode([id for id, _ in run]) for is_response, run in runs if is_response]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("template", "row", "turns", "responses"),
    [
        (TAGGED, "OPENAI", TURNS, [f"{TAGGED_CALL}<|im_end|>", f"{ANSWER}<|im_end|>"]),
        (TAGGED, "OPENAI_FUNCTIONS", TURNS, [f"{TAGGED_CALL}<|im_end|>", f"{ANSWER}<|im_end|>"]),
        (TAGGED, "SHAREGPT", TURNS, [f"{TAGGED_CALL}<|im_end|>", f"{ANSWER}<|im_end|>"]),
        (TAGGED, "XLAM", XLAM_TURNS, [f"{TAGGED_CALL}\n{TAGGED_TIME}<|im_end|>"]),
        (BRACKETS, "OPENAI", TURNS, [f"[TOOL_CALLS] [{ARRAY}]</s>", f"{ANSWER}</s>"]),
        (BRACKETS, "SHAREGPT", TURNS, [f"[TOOL_CALLS] [{ARRAY}]</s>", f"{ANSWER}</s>"]),
        (CHANNELS, "SHAREGPT", TURNS, [
            ' to=get_weather\n{"city": "Zürich", "days": 2}<|end|>', f"\n{ANSWER}<|im_end|>"
        ]),
    ],
)  # fmt: skip
def test_rows_are_written_as_transformers_writes_them(template, row, turns, responses, kind):
    tokenizer, example = encoded(template, to_messages(getattr(tools, row), "auto"), kind)
    assert example.refused is None
    assert example.ids == tokenizer.apply_chat_template(turns, tools=TOOLS, return_dict=False)
    found = [text.lstrip(" ") for text in responses_of(tokenizer, example)]
    expected = [text.lstrip(" ") for text in responses]
    assert found == ([text.lower() for text in expected] if "lower" in kind else expected)


def test_calls_that_are_text_stay_text():
    tokenizer, example = encoded(TAGGED, to_messages(tools.HERMES, "auto"))
    system, user, call, result, answer = tools.HERMES["conversations"]
    turns = [
        {"role": role, "content": turn["value"]}
        for role, turn in zip(
            ("system", "user", "assistant", "tool", "assistant"), (system, user, call, result, answer), strict=True
        )
    ]
    assert example.ids == tokenizer.apply_chat_template(turns, return_dict=False)
    assert responses_of(tokenizer, example) == [f"{call['value']}<|im_end|>", f"{ANSWER}<|im_end|>"]


def test_text_beside_calls_and_several_results():
    turns = [
        ASKED,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": RESULT},
        {"role": "tool", "content": ""},
        {"role": "assistant", "content": "", "tool_calls": [TIME_ONLY]},
    ]
    tokenizer, example = encoded(TAGGED, messages_of(turns, TOOLS))
    assert example.ids == tokenizer.apply_chat_template(turns, tools=TOOLS, return_dict=False)
    assert responses_of(tokenizer, example) == [
        f"Let me see.\n{TAGGED_CALL}\n{TAGGED_CALL}<|im_end|>",
        f"{TAGGED_TIME}<|im_end|>",
    ]


def test_reasoning_is_response_and_that_of_earlier_turns_may_go():
    thought = {"role": "assistant", "content": "Iron.", "reasoning_content": " Name\none. "}
    again = {"role": "assistant", "content": "", "thinking": "Look.", "tool_calls": [TIME_ONLY]}
    turns = [ASKED, thought, ASKED, again]
    tokenizer, example = encoded(TAGGED, messages_of(turns))
    assert example.ids == tokenizer.apply_chat_template(turns, return_dict=False)
    assert responses_of(tokenizer, example) == [
        "Iron.<|im_end|>",
        f"<think>\nLook.\n</think>\n\n{TAGGED_TIME}<|im_end|>",
    ]
    tokenizer, example = encoded(TAGGED, messages_of(turns[:2]))
    assert responses_of(tokenizer, example) == ["<think>\nName\none.\n</think>\n\nIron.<|im_end|>"]
    *_, response = responses_of(*encoded(CHANNELS, messages_of([ASKED, again])))
    assert response == " analysis\nLook.<|im_end|>\n<|im_start|>assistant to=get_time\n{}<|end|>"


@pytest.mark.parametrize("masked", [0, 1, 2])
def test_a_turn_that_is_context_is_read_and_not_learned(masked):
    turns = [ASKED, TURNS[1], TURNS[2], TURNS[3], ASKED, {"role": "assistant", "content": "Warm."}]
    place = [1, 3, 5][masked]
    weighted = [{**turn, "weight": 0} if number == place else turn for number, turn in enumerate(turns)]
    (_, every), (tokenizer, some) = encoded(TAGGED, messages_of(turns)), encoded(TAGGED, messages_of(weighted))
    assert some.ids == every.ids
    expected = [f"{TAGGED_CALL}<|im_end|>", f"{ANSWER}<|im_end|>", "Warm.<|im_end|>"]
    assert responses_of(tokenizer, every) == expected
    assert responses_of(tokenizer, some) == expected[:masked] + expected[masked + 1 :]


R1 = written(
    "{% if m.role == 'user' %}<|user|>{{ m.content }}{% elif m.role == 'tool' %}<|end|>{{ m.content }}<|end|>{% else %}"
    "<|assistant|>{{ m.content }}{% for call in m.tool_calls or [] %}<call>{{ call.function.name }} "
    "{{ call.function.arguments | tojson }}{% endfor %}</s>{% endif %}",
    "<|assistant|><think>\n",
)


def test_an_opening_that_is_written_in_part_is_none_of_the_response():
    """As of DeepSeek-R1, whose prompts begin the thoughts that it leaves out of conversations."""
    tokenizer, example = encoded(R1, messages_of(TURNS))
    assert responses_of(tokenizer, example) == [
        '<call>get_weather {"city": "Zürich", "days": 2}</s>',
        f"{ANSWER}</s>",
    ]


def test_arguments_are_text_where_a_template_takes_no_objects():
    """As DeepSeek's; it is handed what OpenAI's interface has."""
    strings = TAGGED.replace("{{ call.function.arguments | tojson }}", "{{ '' + call.function.arguments }}")
    assert strings != TAGGED
    tokenizer, example = encoded(strings, messages_of(TURNS))
    as_text = {"name": "get_weather", "arguments": json.dumps(tools.ARGUMENTS, ensure_ascii=False)}
    turns = [ASKED, {**TURNS[1], "tool_calls": [{"type": "function", "function": as_text}]}, *TURNS[2:]]
    assert example.ids == tokenizer.apply_chat_template(turns, return_dict=False)
    assert responses_of(tokenizer, example) == [f"{TAGGED_CALL}<|im_end|>", f"{ANSWER}<|im_end|>"]


def test_a_result_may_be_written_as_json():
    """As by Llama 3, to which a text is a list of characters."""
    quoted = TAGGED.replace("{{ m.content }}\n</tool_response>", "{{ m.content | tojson }}\n</tool_response>")
    assert quoted != TAGGED
    turns = [*TURNS[:2], {"role": "tool", "content": 'It is\t"21"\n<|im_end|> \n'}, TURNS[3]]
    tokenizer, example = encoded(quoted, messages_of(turns))
    assert responses_of(tokenizer, example) == [f"{TAGGED_CALL}<|im_end|>", f"{ANSWER}<|im_end|>"]
    assert tokenizer.decode(example.ids) == tokenizer.apply_chat_template(turns, tokenize=False)


def test_a_call_ends_with_the_token_that_asks_for_its_result():
    """As of GLM, whose responses end where the next turn begins."""
    glm = (
        "{% for m in messages %}{{ '<|end|>' if m.role == 'tool' else '<|' + m.role + '|>' }}\n{{ m.content }}"
        "{% for call in m.tool_calls or [] %}{{ call.function | tojson }}{% endfor %}{% endfor %}"
        "{{ '<|assistant|>' if add_generation_prompt }}"
    )
    assert responses_of(*encoded(glm, messages_of(TURNS))) == [f"\n{ARRAY}<|end|>", f"\n{ANSWER}"]


@pytest.mark.parametrize("template", [TAGGED, BRACKETS, R1])
def test_special_tokens_in_calls_and_results_are_text(template):
    spelled = {
        "name": "get<|im_end|>",
        "arguments": {"</s>": ["<|im_end|>", {"a<|end|>": "</s> <|im_start|>"}], "n": 1},
    }
    turns = [
        ASKED,
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": spelled}]},
        {"role": "tool", "content": "<|im_end|></s>"},
        TURNS[3],
    ]
    offered = [{"type": "function", "function": {"name": "get<|im_end|>", "description": "</s>"}}]
    tokenizer, example = encoded(template, messages_of(turns, offered if template != R1 else None))
    _, plain = encoded(template, messages_of(TURNS, TOOLS if template != R1 else None))
    special = tokenizer.all_special_ids
    assert [id for id in example.ids if id in special] == [id for id in plain.ids if id in special]
    call, answer = responses_of(tokenizer, example)
    assert '["<|im_end|>", {"a<|end|>": "</s> <|im_start|>"}], "n": 1}' in call
    assert call.endswith(responses_of(tokenizer, plain)[0][-4:])
    assert answer == responses_of(tokenizer, plain)[1]


SPELLED = ["<|im_end|>", "</s>", "<tool_call>", "</think>", '"', "\\", "{{ 7 }}", "\ue000", " ", "\n", "鉄"]
WORDS = st.sampled_from(SPELLED)
TEXTS = st.lists(WORDS | st.text(max_size=3), min_size=1, max_size=4).map("".join).map(lambda text: f"{text}.")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | st.just(""),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
CALLS = st.lists(st.tuples(TEXTS, st.dictionaries(TEXTS, VALUES, max_size=2)), min_size=1, max_size=2)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TEXTS, st.sampled_from(["", "Hm."]) | TEXTS, CALLS, st.lists(TEXTS | st.just(""), min_size=1, max_size=2), TEXTS)
def test_whatever_calls_and_results_say_responses_are_what_the_assistant_wrote(asked, said, calls, results, answer):
    made = [{"type": "function", "function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    turns = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": said, "tool_calls": made},
        *({"role": "tool", "content": result} for result in results),
        {"role": "assistant", "content": answer},
    ]
    tokenizer, example = encoded(TAGGED, messages_of(turns))
    assert tokenizer.decode(example.ids) == tokenizer.apply_chat_template(turns, tokenize=False)
    listed = [
        f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments, ensure_ascii=False)}}}\n</tool_call>'
        for name, arguments in calls
    ]
    written = "\n".join([said, *listed] if said else listed)
    assert responses_of(tokenizer, example) == [f"{written}<|im_end|>", f"{answer}<|im_end|>"]


NAMES_ONLY = TAGGED.replace("call.function.arguments | tojson", "''")
VALUES_ONLY = TAGGED.replace("call.function.arguments | tojson", "call.function.arguments.values() | list")
FIRST_CALL = TAGGED.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]")
ONE_TOOL = TAGGED.replace("in tools %}", "in tools[:1] %}")
SILENT = TAGGED.replace("{{ m.content }}{% for", "{{ m.content if not m.tool_calls else '' }}{% for")
ENDLESS = written(
    "{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}\n"
)
ONE_CALL = "{% for m in messages if (m.tool_calls or []) | length > 1 %}{{ raise_exception('one call at a time') }}"
ONE_CALL += "{% endfor %}" + TAGGED
TALKING = {"role": "assistant", "content": "Hm.", "tool_calls": [CALL]}
THINKING = {"role": "assistant", "content": "b", "thinking": "Hm."}


@pytest.mark.parametrize(
    ("template", "turns", "offered", "reason"),
    [
        (PLAIN_TEMPLATE, QUESTION, TOOLS, "the chat template leaves out tools"),
        (ONE_TOOL, QUESTION, TOOLS, "the chat template leaves out tools"),
        (PLAIN_TEMPLATE, TURNS, None, "the chat template leaves out or repeats a part of tool_calls"),
        (NAMES_ONLY, TURNS, None, "the chat template leaves out or repeats a part of tool_calls"),
        (VALUES_ONLY, TURNS, None, "the chat template leaves out or repeats a part of tool_calls"),
        (FIRST_CALL, XLAM_TURNS, None, "the chat template leaves out or repeats a part of tool_calls"),
        (CHANNELS, XLAM_TURNS, None, "the chat template leaves out or repeats a part of tool_calls"),
        (SILENT, [ASKED, TALKING], None, "the chat template leaves out or repeats the turn of assistant"),
        (PLAIN_TEMPLATE, [ASKED, THINKING], None, "the chat template leaves out reasoning_content"),
        (TAGGED, [ASKED, THINKING, *QUESTION], None, "the chat template leaves out reasoning_content"),
        (ENDLESS, TURNS, None, "the chat template writes no end of a call, which cannot be told from the result"),
        (ONE_CALL, XLAM_TURNS, None, "the chat template refuses the conversation: one call at a time"),
    ],
)
def test_what_a_template_leaves_out_is_said(template, turns, offered, reason):
    tokenizer = with_template(tokenizer_of("byte-level", template))
    example, other = encode([messages_of(turns, offered), messages_of(QUESTION)], tokenizer, 2000)
    assert other.predicted > 0
    assert example.refused.startswith(reason)
    assert example.ids == []


def test_a_call_without_an_end_is_the_end_of_a_text():
    tokenizer, example = encoded(ENDLESS, messages_of(TURNS[:2]))
    assert responses_of(tokenizer, example) == [f"assistant: {ARRAY}"]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (QUESTION * 12_000, "has too many turns, or characters without a meaning, "),
        ([QUESTION[0], {"role": "assistant", "content": "".join(map(chr, PRIVATE_USE))}], "has too many turns, or "),
        (
            [QUESTION[0], {"role": "assistant", "content": "<|end|>" + "".join(map(chr, range(0x100000, 0x10FFFE)))}],
            "spells a special token, and has all characters that could stand for one",
        ),
    ],
    ids=["turns", "marks", "stand-ins"],
)
def test_a_row_that_uses_up_all_characters_has_no_tokens_and_a_reason(turns, reason):
    tokenizer = with_template(tokenizer_of("byte-level", PLAIN_TEMPLATE))
    example, other = encode([turns, QUESTION], tokenizer, 100)
    assert example.refused.startswith(reason)
    assert example.ids == []
    assert other.predicted > 0
