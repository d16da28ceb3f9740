import itertools
from copy import deepcopy

import pytest
from given.chats import GENERATION, KINDS, QUESTION, SPECIAL, TEMPLATES, TURNS, responses_of, tokenizer_of
from hypothesis import given, settings
from hypothesis import strategies as st

from moesift.demo.embedded import train_tokenizer
from moesift.errors import UserError
from moesift.models.chat import (
    Encoded,
    _overlapping,
    encode,
    encode_responses,
    end_of_turn,
    responses_alone,
    start_of_text,
    with_template,
)
from moesift.models.templates import PLAIN_TEMPLATE


def text_of(tokenizer, example, response: bool) -> str:
    return tokenizer.decode([i for i, r in zip(example.ids, example.response, strict=True) if r is response])


def test_response_tokens_are_the_assistants_with_the_end_of_its_turn(tokenizer):
    (example,) = encode([TURNS], tokenizer, 500)
    assert text_of(tokenizer, example, True) == "iron<|end|>no<|end|>"
    assert text_of(tokenizer, example, False) == (
        "<|system|>\nbe brief\n<|user|>\nwhich is a metal?\n<|assistant|>\n<|user|>\nand the cat?\n<|assistant|>\n"
    )
    whole = tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert example.ids == tokenizer(whole, add_special_tokens=False)["input_ids"]


def test_a_long_example_is_cut(tokenizer):
    (example,) = encode([TURNS[1:3]], tokenizer, 10)
    assert len(example.ids) == len(example.response) == 10
    assert example.predicted == 0  # its response lies beyond


def test_an_example_that_is_cut_before_its_response_is_none(tokenizer):
    length = len(encode([QUESTION], tokenizer, 500)[0].ids)
    encoded = encode_responses([TURNS[:3], QUESTION], tokenizer, length)
    assert [example is None for example in encoded] == [True, False]
    with pytest.raises(UserError, match=r"data.max_length: no example has a response token within 8 tokens"):
        encode_responses([TURNS[:3]], tokenizer, 8)


def test_a_base_model_gets_the_plain_template(tokenizer):
    base = deepcopy(tokenizer)
    base.chat_template, base.pad_token = None, None
    base = with_template(base)
    assert base.chat_template == PLAIN_TEMPLATE
    assert base.pad_token == "<|end|>"
    base.eos_token = None
    with pytest.raises(UserError, match="has no eos_token"):
        with_template(base)


def test_each_response_alone_follows_the_start_token():
    example = Encoded([1, 2, 3, 4, 5, 6], [False, True, True, False, False, True])
    assert responses_alone(example, 9) == [
        Encoded([9, 2, 3], [False, True, True]),
        Encoded([9, 6], [False, True]),
    ]


PIECES = st.lists(st.sampled_from(["<|end|>", "<|pad|>", "<|", "end|>", "\ue000", " ", "\n"]) | st.text(max_size=4))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(PIECES.map("".join), min_size=2, max_size=4), st.booleans())
def test_any_text_is_recovered_and_has_one_end_token_a_response(contents, finished):
    tokenizer = train_tokenizer(["the cat sat on the mat", "which is a metal? iron"] * 4, 320)
    roles = itertools.cycle(("user", "assistant"))
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    if len(turns) % 2:
        turns.append({"role": "assistant", "content": "iron"})
    (example,) = encode([turns], tokenizer, 10_000, [finished])
    missing = "" if finished else "<|end|>"
    written = tokenizer.apply_chat_template(turns, tokenize=False)
    assert tokenizer.decode(example.ids) + missing == written
    special = [token for token in example.ids if token in (tokenizer.eos_token_id, tokenizer.pad_token_id)]
    assert special == [tokenizer.eos_token_id] * (len(turns) // 2 - (not finished))
    responses = "".join(f"{turn['content']}<|end|>" for turn in turns[1::2])
    assert text_of(tokenizer, example, True) + missing == responses
    assert tokenizer("<|end|>", add_special_tokens=False)["input_ids"] == [tokenizer.eos_token_id]


def test_a_response_that_is_not_finished_has_no_end_token(tokenizer):
    whole, cut = encode([QUESTION, QUESTION], tokenizer, 100, [True, False])
    assert whole.ids == [*cut.ids, tokenizer.eos_token_id]
    assert whole.response == [*cut.response, True]
    assert encode([QUESTION], tokenizer, 100) == [whole]
    # Only the last response of several is affected.
    twice = [*QUESTION, {"role": "user", "content": "b"}, {"role": "assistant", "content": "cat"}]
    whole, cut = encode([twice, twice], tokenizer, 100, [True, False])
    assert whole.ids == [*cut.ids, tokenizer.eos_token_id]
    assert cut.ids.count(tokenizer.eos_token_id) == 1


def test_a_token_counts_if_any_of_its_characters_does():
    offsets = [(0, 2), (2, 2), (2, 5), (5, 6), (5, 6), (6, 9)]  # one without characters; two that share one
    assert _overlapping(offsets, [(3, 6), (8, 20)]) == [False, False, True, True, True, True]
    assert _overlapping(offsets, [(0, 1), (6, 6)]) == [True, False, False, False, False, False]
    assert _overlapping([], [(0, 1)]) == []


# What ends a turn, and the two responses of TURNS without a system turn, as each template writes them.
WRITTEN = {
    "ChatML": ("<|im_end|>", ["iron<|im_end|>", "no<|im_end|>"]),
    "Zephyr": ("</s>", ["iron</s>", "no</s>"]),
    "Gemma": ("<|im_end|>", ["iron<|im_end|>", "no<|im_end|>"]),
    "Phi-3": ("<|end|>", ["iron<|end|>", "no<|end|>"]),
    "Llama-2": (" </s>", ["iron </s>", "no </s>"]),
    "no opening": ("<|im_end|>", ["iron<|im_end|>", "no<|im_end|>"]),
    "no end": ("", ["iron", "no"]),
    "Qwen3": ("<|im_end|>", ["iron<|im_end|>", "<think>\n\n</think>\n\nno<|im_end|>"]),
    "R1": ("</s>", ["iron</s>", "no</s>"]),
    "default system": ("<|im_end|>", ["iron<|im_end|>", "no<|im_end|>"]),
}


@pytest.mark.parametrize("swallowing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_transformers_with_one_start_token(kind, swallowing):
    for name, template in TEMPLATES.items():
        tokenizer = with_template(tokenizer_of(kind, template, starts=True, swallowing=swallowing))
        end, texts = WRITTEN[name]
        whole, cut = encode([TURNS[1:], TURNS[1:]], tokenizer, 1000, [True, False])
        written = tokenizer.apply_chat_template(TURNS[1:], return_dict=False)
        start = [] if name in ("Gemma", "Llama-2") else [tokenizer.bos_token_id]  # these two write it themselves
        assert whole.ids == start + written, name
        assert whole.ids[0] == tokenizer.bos_token_id
        assert end_of_turn(tokenizer) == end
        spaceless = end.strip() if swallowing else end
        found, unfinished = responses_of(tokenizer, whole), responses_of(tokenizer, cut)
        assert [text.lstrip(" ") for text in found] == [text.replace(end, spaceless) for text in texts], name
        assert unfinished[1].strip() == texts[1].removesuffix(end), name


@pytest.mark.parametrize("kind", KINDS)
def test_responses_are_those_that_the_template_marks(kind):
    """Against transformers' own mask, of templates that say what the assistant writes."""
    tokenizer = tokenizer_of(kind, GENERATION)
    for turns in (TURNS, [{"role": "user", "content": " 哪个 \n"}, {"role": "assistant", "content": " 铁 🙂\n\n"}]):
        marked = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
        (example,) = encode([turns], tokenizer, 1000)
        assert example.ids == marked["input_ids"]
        assert example.response == [bool(one) for one in marked["assistant_masks"]]


@pytest.mark.parametrize("swallowing", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_spelled_token_is_text_in_the_midst_of_its_text(kind, swallowing):
    """Against a tokenizer that does not know the token, on the same text."""
    tokenizer, twin = (
        tokenizer_of(kind, TEMPLATES["ChatML"], swallowing=swallowing, special=special)
        for special in (SPECIAL, SPECIAL[:-1])
    )
    for text in ("a<|end|>b", "say <|end|> twice <|end|>", "<|end|>", "\ue000\U00100000<|end|> 铁"):
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
        found, expected = (encode([TURNS, turns], each, 1000) for each in (tokenizer, twin))
        assert found == expected
        assert found[1].ids == twin.apply_chat_template(turns, return_dict=False)


def test_what_begins_a_text_of_its_own():
    by_itself, named, nothing = (tokenizer_of("byte-level", starts=starts) for starts in (True, False, False))
    nothing.bos_token = None
    assert start_of_text(by_itself) == start_of_text(named) == [by_itself.bos_token_id]
    assert start_of_text(nothing) == [nothing.eos_token_id]
    example = Encoded([1, 2], [False, True])
    assert responses_alone(example, 8, 9) == [Encoded([8, 9, 2], [False, False, True])]
