"""Keys beside the text, in the row or in a turn: harmless, or the row is rejected."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from moesift.data import keys
from moesift.data.formats import INPUTS, LAYOUTS, ROLES, SYSTEM, to_messages
from moesift.data.keys import Rejected
from moesift.data.tools import CALLS, LINKS, REASONING, TOOLS

ROWS = {
    "messages": {"messages": [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Iron."}]},
    "sharegpt": {"conversations": [{"from": "human", "value": "Name a metal."}, {"from": "gpt", "value": "Iron."}]},
    "alpaca": {"instruction": "Name a metal.", "output": "Iron."},
    "prompt_completion": {"prompt": "Name a metal.", "completion": "Iron."},
    "orca": {"question": "Name a metal.", "response": "Iron."},
}
HARMLESS = {
    "id": "a-1", "conversation_id": "x y", "source": "a book", "data_source": "flan", "dataset": "dolly",
    "category": "open qa", "task_type": {"major": ["question answering"]}, "lang": "en", "meta": {"a": ["long text"]},
    "model": "gpt 4", "model_name": "gpt 4", "avatarUrl": "https://a.b/c d",
    "timestamp": datetime(2026, 1, 2, tzinfo=UTC), "day": date(2026, 1, 2), "perplexity": 3.5, "price": Decimal(1),
    "num_turns": 2, "embedding": [0.1, 0.2],
    "scores": {"helpful": 4}, "score": -1.5, "rating": 1, "tags": ["two words"], "categories": ["two words"],
    "openai_moderation": [{"categories": {"hate": False}}], "redacted": True, "license": "cc by", "quality": 0.1,
    "skill_label": {"skills": ["two words"]}, "class_label": 0, "label": -1, "tag": 0,
    "is_correct": True, "is_bad": False, "weight": 1.0, "train": True,
    "language": "the French one", "difficulty": "very hard", "images": [], "num_images": 0, "tools": "[]",
    "views": None, "class": "refund",
    "history": [], "thinking": "\u200b", "functions": "null", "extra": {"a": [{"b": ""}]},
    # What the turns have as well.
    "topic_of_it": "metal", "answer": "Iron.", "first": ["Name a metal.", "Iron."],
    "text": "### Instruction:\nName a metal.\n\n### Response:\nIron.",
    "chosen": [{"role": "user", "content": "Name a metal."}, {"role": "assistant", "content": "Iron."}],
}  # fmt: skip
LOST = {
    "background": "Only gold counts.", "documents": [{"text": "Gold is a metal."}], "tools": [{"name": "metals"}],
    "tool_calls": [{"id": 1}], "functions": '[{"name": "metals"}]', "function_call": {"name": "f"}, "image": b"\x89PNG",
    "images": ["a.png"], "image_url": "https://a.b/c.png", "audio": {"array": [0.1]}, "history": [["a", "b"]],
    "reasoning": "Think of one.", "reasoning_content": "Think of one.", "thinking": "Hm.", "thought": "Hm.",
    "chat_template_kwargs": {"custom_instructions": "Be rude.", "enable_thinking": True}, "rejected": "Wood.",
    "template_kwargs": {"enable_thinking": False}, "enable_thinking": True, "enableThinking": False,
    "chosen": [{"role": "assistant", "content": "Gold."}], "mask": 0, "labels": [-100, 5],
    "more": ["met", "ron."], "source_code": "print(1)",
    "bot_name": "Ann", "object": object(), "text": "A metal is hard. Iron. Name a metal.",
}  # fmt: skip
WITHOUT_EFFECT = {"weight": 0.5, "sample-weights": [1, 0], "lossMask": [[0, 5]]}
CONTEXT = {"loss_weight": 0, "train": False, "loss": False}
BAD = {
    "label": False,
    "is_correct": False,
    "isCorrect": 0,
    "is_bad": True,
    "quality": "Bad",
    "label_name": "rejected",
    "verdict": "false",
    "kto_tag": False,
}
REJECTED = [
    *((key, value, f"has {key}, which would be lost; write it into the turns, or name it in `ignore`")
      for key, value in LOST.items()),
    *((key, value, f"has {key}: {value!r}, which would have no effect: it is trained on")
      for key, value in (WITHOUT_EFFECT | CONTEXT).items()),
    *((key, value, f"has {key}: {value!r}, which says that the response is bad") for key, value in BAD.items()),
]  # fmt: skip


def with_key(layout, place, key, value):
    """Return a row with a key beside its turns, or in the turn of that number."""
    row = ROWS[layout]
    if place is None:
        return {key: value, **row}
    ((name, turns),) = row.items()
    return {name: [{key: value, **turn} if number == place else turn for number, turn in enumerate(turns)]}


PLACES = [*((layout, None) for layout in ROWS), ("messages", 1), ("sharegpt", 1)]


@pytest.mark.parametrize(("layout", "place"), PLACES)
def test_every_key_is_harmless_or_rejects_the_row_by_its_name(layout, place):
    for key, value in HARMLESS.items():
        assert to_messages(with_key(layout, place, key, value), "auto") == ROWS["messages"]["messages"], key
    where = "the row" if place is None else f"{next(iter(ROWS[layout]))}[{place}]"
    for key, value, reason in REJECTED:
        if key in (TOOLS if place is None else (*REASONING, *CALLS, *CONTEXT)):
            continue  # see test_tools.py
        with pytest.raises(Rejected) as rejected:
            to_messages(with_key(layout, place, key, value), "auto")
        assert str(rejected.value) == f"{where} {reason}"


@pytest.mark.parametrize("name", ["weight", "train", "loss_mask"])
def test_what_is_said_of_training_on_a_turn_has_to_hold(name):
    """As in SlimOrca: 1 for responses, 0 for what they answer."""
    asked, told = ROWS["messages"]["messages"]
    for value in (0, False, None):
        assert to_messages({"messages": [{**asked, name: value}, {**told, name: 1}]}, "auto") == [asked, told]
    with pytest.raises(Rejected, match=rf"^messages\[0\] has {name}: 1, which would .*: it is not trained on$"):
        to_messages({"messages": [{**asked, name: 1}, told]}, "auto")


@pytest.mark.parametrize(("name", "value"), [("weight", 0), ("weight", 0.0), ("train", False), ("loss_weight", 0)])
def test_a_response_without_weight_is_context(name, value):
    """As in the files of OpenAI and Mistral (weight) and of axolotl (train)."""
    asked, told = ROWS["messages"]["messages"]
    context, again = {**told, name: value}, {"role": "user", "content": "Another."}
    masked = {**told, "more": '{"train": false}'}
    assert to_messages({"messages": [asked, context, again, told]}, "auto") == [asked, masked, again, told]
    assert to_messages({"messages": [asked, told, again, context]}, "auto") == [asked, told, again, masked]
    with pytest.raises(Rejected, match=r"^no turn of assistant is trained on: all are said to be context$"):
        to_messages({"messages": [asked, context]}, "auto")
    with pytest.raises(Rejected, match=r"^messages\[1\] has trainable: 1, which would .*: it is not trained on$"):
        to_messages({"messages": [asked, {**context, "trainable": 1}, again, told]}, "auto")


@pytest.mark.parametrize(
    ("row", "lost"),
    [
        ({**ROWS["messages"], "prompt": "Name two metals.", "input": "gold", "weight": None}, "prompt, input"),
        ({**ROWS["sharegpt"], "system": "Be rude.", "system_prompt": "Be kind."}, "system_prompt"),
        ({**ROWS["alpaca"], "response": "Gold."}, "response"),
        ({**ROWS["alpaca"], "input": "soft", "context": "hard"}, "context"),
        ({**ROWS["prompt_completion"], "context": "hard"}, "context"),
    ],
)
def test_of_two_texts_for_one_place_the_second_is_not_dropped(row, lost):
    with pytest.raises(Rejected) as rejected:
        to_messages(row, "auto")
    assert str(rejected.value).startswith(f"the row has {lost}, which would be lost; ")


def test_a_word_stands_in_a_text_whole_or_in_a_script_that_writes_none_apart():
    turns = [{"role": "user", "content": "Which is bad: to know, or 黄金?"}, {"role": "assistant", "content": "bad"}]
    for value in ("know", "or 黄金?", "金", "is bad"):
        assert to_messages({"messages": turns, "remark": value}, "auto") == turns
    assert to_messages({"messages": turns, "quality": "bad"}, "auto") == turns  # as the response
    for value in ("no", "kno", "s bad"):
        with pytest.raises(Rejected, match="the row has remark, which would be lost"):
            to_messages({"messages": turns, "remark": value}, "auto")
    with pytest.raises(Rejected, match="which says that the response is bad"):
        to_messages({"messages": [turns[0], {"role": "assistant", "content": "So bad."}], "quality": "bad"}, "auto")


def test_a_key_may_be_nested_as_deep_as_json_can_be():
    deep = "gold"
    for _ in range(50_000):
        deep = [deep]
    with pytest.raises(Rejected, match="the row has notes, which would be lost"):
        to_messages({**ROWS["alpaca"], "notes": deep}, "auto")


def test_the_table_has_every_name():
    table = (Path(__file__).parents[2] / "docs/rows.md").read_text()
    names = set().union(
        ROLES, SYSTEM, INPUTS, *(names for _, names in LAYOUTS), keys.HARMLESS, keys.NOT_TEXT, keys.SETTINGS
    )
    names |= {*TOOLS, *CALLS, *REASONING, *LINKS}
    names |= keys.WEIGHTS | keys.MASKS | keys.NEGATIONS | keys.GOOD | keys.BAD | keys.IN_WORDS | keys.BAD_WORDS
    assert [name for name in sorted(names | keys.RENDERED) if f"`{name}`" not in table] == []
