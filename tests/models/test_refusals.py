"""What a chat template refuses or cannot do, and what a tokenizer lacks, in the words of the errors."""

from datetime import datetime

import pytest
from given.chats import QUESTION, SPECIAL, TEMPLATES, TURNS, responses_of, tokenizer_of
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from moesift.errors import UserError
from moesift.models.chat import (
    Encoded,
    encode,
    encode_responses,
    require_embeddings,
    with_template,
)
from moesift.models.templates import PLAIN_TEMPLATE, PRIVATE_USE

THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\niron"}


@pytest.mark.parametrize(
    ("template", "turns", "reason"),
    [
        ("Gemma", TURNS, "the chat template refuses the conversation: roles must alternate"),
        ("R1", [TURNS[1], THOUGHT], "the chat template leaves out a part of the turn of assistant"),
        ("Qwen3", [TURNS[1], THOUGHT, *TURNS[3:]], "the chat template leaves out a part of the turn of assistant"),
        (
            "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}",
            TURNS,
            "the chat template leaves out or repeats the turn of system",
        ),
        (
            "{% for m in messages %}{{ m.content | replace('<|end|>', '') }}{% endfor %}",
            [{"role": "user", "content": "a<|end|>"}, TURNS[2]],
            "the chat template changes what messages say",
        ),
        (
            "{% for m in messages %}{{ m.content }}{{ 1 / (3 - loop.index) }}{% endfor %}",
            TURNS,
            "the chat template refuses the conversation: division by zero",
        ),
    ],
)
def test_what_a_template_refuses_has_no_tokens_and_a_reason(template, turns, reason, capsys):
    """The others are encoded as if it were not there."""
    tokenizer = tokenizer_of("byte-level", TEMPLATES.get(template, template))
    (expected,) = encode([QUESTION], tokenizer, 100)
    assert encode([turns, QUESTION], tokenizer, 100) == [Encoded([], [], reason), expected]
    assert encode_responses([turns, QUESTION, turns], tokenizer, 100) == [None, expected, None]
    assert f"without tokens: 2 x {reason}\n" in capsys.readouterr().out
    with pytest.raises(UserError, match=rf"no example has a response token within 100 tokens \(1 x {reason}"):
        encode_responses([turns], tokenizer, 100)


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
    tokenizer = tokenizer_of("byte-level", TEMPLATES["ChatML"])
    example, other = encode([turns, QUESTION], tokenizer, 100)
    assert example.refused.startswith(reason)
    assert example.ids == []
    assert other.predicted > 0


def test_thoughts_belong_to_the_response():
    tokenizer = tokenizer_of("byte-level", TEMPLATES["Qwen3"])
    (example,) = encode([[TURNS[1], THOUGHT]], tokenizer, 100)
    assert responses_of(tokenizer, example) == ["<think>\nhm\n</think>\n\niron<|im_end|>"]


def test_text_without_tokens_has_a_reason():
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(("user", "assistant", "a", "b"))}))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    template = "{% for m in messages %}{{ m.role + ' ' + m.content + ' ' }}{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", chat_template=template)
    answer = {"role": "assistant", "content": "b"}
    known, unknown = encode([[QUESTION[0], answer], [TURNS[1], answer]], tokenizer, 100)
    assert responses_of(tokenizer, known) == ["b"]
    assert unknown.ids == []
    assert "the tokenizer has no tokens for the text: WordLevel error: Missing [UNK] token" in unknown.refused


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('Roles must alternate') }}", "refuses the conversation: Roles must alternate"),
        ("{% for %}", "refuses the conversation: "),
        ("{{ messages[0].content.no.such }}", "refuses the conversation: .*has no attribute"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "refuses the conversation: .*unsafe"),
        ("{{ messages[-1]['role'] }}: {{ messages[-1]['content'] }}", "leaves out or repeats the turn of user"),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", "leaves out a part of the turn of user"),
        ("{% for m in messages %}{{ m.content[0].text }}{% endfor %}", "leaves out or repeats|refuses"),
        ({"tool_use": PLAIN_TEMPLATE, "rag": "b"}, r"several chat templates \(tool_use, rag\), and none is called"),
    ],
)
def test_a_template_that_cannot_be_used_is_one_error(template, message):
    with pytest.raises(UserError, match=message):
        with_template(tokenizer_of("byte-level", template))


def test_of_several_templates_the_default_is_taken_and_for_tools_that_of_tools():
    several = {"tool_use": "\n {{ tools }}\n" + PLAIN_TEMPLATE + " ", "default": "\n" + TEMPLATES["Zephyr"] + "  \n\n"}
    theirs, ours = tokenizer_of("byte-level", several), with_template(tokenizer_of("byte-level", several))
    for tools in (None, [{"type": "function", "function": {"name": "f"}}]):
        expected = theirs.apply_chat_template(TURNS, tools=tools, tokenize=False)
        assert ours.apply_chat_template(TURNS, tools=tools, tokenize=False) == expected
    alone = with_template(tokenizer_of("byte-level", {"rag": "b", "default": TEMPLATES["Zephyr"]}))
    assert alone.chat_template == TEMPLATES["Zephyr"]


def test_a_template_without_an_end_is_said(capsys):
    with_template(tokenizer_of("byte-level", TEMPLATES["ChatML"]))
    assert capsys.readouterr().err == ""
    with_template(tokenizer_of("byte-level", TEMPLATES["no end"]))
    assert "its chat template writes nothing at the end of a response" in capsys.readouterr().err


def test_the_clock_of_a_template_stands_still(monkeypatch):
    """Whatever the format, also where a template saves it first; and the template's own white space stays."""
    template = (
        "\n  {% set day = '%d %b %Y' %}{{ strftime_now(day) }} {{ strftime_now('%Y-%m-%d %H:%M') }}\n"
        "{{ strftime_now('%A, %B %-d; %e %F %T %x %X %c %y%j %U %-I %p %h %D %R %Z.') }}" + PLAIN_TEMPLATE
    )
    tokenizer = with_template(tokenizer_of("byte-level", template))
    text = tokenizer.apply_chat_template(QUESTION, tokenize=False)

    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2024, 7, 26)

    monkeypatch.setattr(chat_template_utils, "datetime", Stopped)
    plain = tokenizer_of("byte-level", template).apply_chat_template(QUESTION, tokenize=False)
    assert text == plain
    assert "26 Jul 2024 2024-07-26 00:00\nFriday, July 26; 26 2024-07-26 00:00:00 07/26/24" in text
    again = with_template(tokenizer)  # as a tokenizer that was saved with it
    assert again.apply_chat_template(QUESTION, tokenize=False) == text


def test_a_token_that_may_be_used_needs_an_embedding():
    tokenizer = with_template(tokenizer_of("byte-level", TEMPLATES["ChatML"]))
    size = len(tokenizer)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    require_embeddings(tokenizer, ids["<|im_end|>"] + 1)  # the others are written by nobody
    with pytest.raises(UserError, match=rf"1 tokens .* has {ids['<|im_end|>']}: <\|im_end\|> \({ids['<|im_end|>']}\)"):
        require_embeddings(tokenizer, ids["<|im_end|>"])
    tokenizer.add_tokens(["word"])
    with pytest.raises(UserError, match=rf"word \({size}\); enlarge"):
        require_embeddings(tokenizer, size)
    padded = with_template(tokenizer_of("byte-level", TEMPLATES["ChatML"]))
    padded.add_special_tokens({"pad_token": "[PAD]"})
    with pytest.raises(UserError, match=rf"\[PAD\] \({size}\); name another pad_token in tokenizer_config.json, or"):
        require_embeddings(padded, size)
