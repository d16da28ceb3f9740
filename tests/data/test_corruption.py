from collections import Counter

import polars as pl
import pytest

from moesift.data.corruption import applicable_kinds, corrupt, length_bin, negatives
from moesift.data.pool import EXAMPLE, MESSAGES
from moesift.errors import UserError

KINDS = ["wrong_choice", "swapped_response", "shuffled_words", "truncated"]


def examples(*rows):
    """Rows of (source, response, choices)."""
    turns = [
        [{"role": "user", "content": f"question {index}"}, {"role": "assistant", "content": response}]
        for index, (_, response, _) in enumerate(rows)
    ]
    table = [
        (source, index, turns[index], choices, "clean", None, True) for index, (source, _, choices) in enumerate(rows)
    ]
    return pl.DataFrame(table, schema=EXAMPLE, orient="row")


def responses(frame):
    return [turns[-1]["content"] for turns in frame["messages"].to_list()]


def quiz(rows):
    return examples(*[("quiz", f"word {n} again", [f"word {n} again", f"other {n}"]) for n in range(rows)])


def test_the_share_is_corrupted_with_each_kind_equally_often():
    before, after = quiz(40), corrupt(quiz(40), 0.3, KINDS, seed=1)
    assert Counter(after["corruption"]) == {"clean": 28, **dict.fromkeys(KINDS, 3)}
    changed = [old != new for old, new in zip(responses(before), responses(after), strict=True)]
    assert changed == [label != "clean" for label in after["corruption"]]
    assert [turns[0]["content"] for turns in after["messages"].to_list()] == [f"question {n}" for n in range(40)]
    columns = ["source", "source_index", "choices"]
    assert after.select(columns).equals(before.select(columns))
    assert after.schema == before.schema


def test_responses_with_calls_or_reasoning_are_neither_corrupted_nor_swapped_in():
    frame = quiz(20)
    turns = frame["messages"].to_list()
    for row in range(10):
        turns[row][1] |= {"content": "", "more": '{"tool_calls": []}'}
    frame = frame.with_columns(pl.Series("messages", turns, MESSAGES))
    corrupted = corrupt(frame, 0.5, KINDS, seed=1)
    assert (corrupted["corruption"] == "clean").to_list() == [True] * 10 + [False] * 10
    assert corrupted["messages"][:10].equals(frame["messages"][:10])
    assert "" not in responses(corrupted)[10:]
    assert set(corrupted["corruption"][10:]) >= {"swapped_response"}
    assert [made is None for made in negatives(frame, KINDS, "0")] == [True] * 10 + [False] * 10


def test_the_seed_decides():
    assert corrupt(quiz(30), 0.5, KINDS, seed=3).equals(corrupt(quiz(30), 0.5, KINDS, seed=3))
    assert not corrupt(quiz(30), 0.5, KINDS, seed=3).equals(corrupt(quiz(30), 0.5, KINDS, seed=4))


def test_the_results_of_earlier_releases_are_the_same():
    after = corrupt(quiz(6), 0.7, KINDS, seed=0)
    labels = ["clean", "shuffled_words", "wrong_choice", "truncated", "clean", "swapped_response"]
    assert after["corruption"].to_list() == labels
    assert responses(after) == ["word 0 again", "word again 1", "other 2", "word", "word 4 again", "word 0 again"]
    corrupted = [negative.turns[-1]["content"] for negative in negatives(quiz(6), KINDS, "0")]
    assert corrupted == ["other 0", "word 3 again", "2 again word", "word", "other 4", "word 4 again"]


def test_an_example_gets_a_kind_that_applies_to_it():
    rows = [("yesno", "yes", ["yes", "no"])] * 5 + [("essay", f"some words {n}", None) for n in range(5)]
    after = corrupt(examples(*rows), 0.99, KINDS, seed=0)  # all ten
    kinds = after["corruption"].to_list()
    # "yes" is one word and the only response of its source; essays have no choices.
    assert kinds[:5] == ["wrong_choice"] * 5
    assert responses(after)[:5] == ["no"] * 5
    assert sorted(Counter(kinds[5:]).values()) == [1, 2, 2]
    assert set(kinds[5:]) == {"swapped_response", "shuffled_words", "truncated"}
    assert applicable_kinds(examples(*rows), KINDS)[4:6] == [
        ["wrong_choice"],
        ["swapped_response", "shuffled_words", "truncated"],
    ]


@pytest.mark.parametrize("seed", range(10))
def test_examples_with_one_kind_do_not_unbalance_the_kinds(seed):
    rows = [("a", str(n), None) for n in range(5)] + [("a", f"some words {n}", None) for n in range(5)]
    after = corrupt(examples(*rows), 0.99, ["swapped_response", "truncated"], seed)
    assert after["corruption"].to_list() == ["swapped_response"] * 5 + ["truncated"] * 5


@pytest.mark.parametrize(
    ("kind", "rows", "expected"),
    [
        ("swapped_response", "a:a1 a:a2 b:b1 b:b2", "a2 a1 b2 b1"),
        ("swapped_across", "a:a1 a:a2 b:b1", "b1 b1 a1"),
        ("swapped_alike", "a:one a:two a:1_2_3 a:4_5_6 b:three b:four", "two one 4_5_6 1_2_3 four three"),
    ],
)
def test_a_swap_takes_from_the_right_source_and_length(kind, rows, expected):
    pairs = [row.replace("_", " ").split(":") for row in rows.split()]
    after = corrupt(examples(*((source, response, None) for source, response in pairs)), 0.99, [kind], seed=0)
    assert [response.replace(" ", "_") for response in responses(after)] == expected.split()


def test_a_share_of_zero_leaves_everything_clean():
    assert corrupt(quiz(4), 0, [], seed=0).equals(quiz(4))


def test_too_few_corruptible_examples_are_an_error():
    with pytest.raises(UserError, match=r"2 of 4 examples are to be corrupted, but wrong_choice applies to 1;"):
        corrupt(examples(("a", "x", ["x", "y"]), *[("a", "x y", None)] * 3), 0.5, ["wrong_choice"], seed=0)


def test_every_example_that_a_kind_applies_to_has_a_negative():
    frame = examples(("a", "one two", ["one two", "three"]), ("b", "word", []), ("a", "four five", None))
    found = negatives(frame, ["wrong_choice", "swapped_response"], seed="1")
    assert found[1] is None  # no choices, and no other response in its source
    # The third can only be swapped, so it chooses first, and the first gets the other kind.
    assert [negative.turns[-1]["content"] for negative in (found[0], found[2])] == ["three", "one two"]
    assert found[0].turns[:-1] == frame["messages"].to_list()[0][:-1]
    assert negatives(frame, ["wrong_choice", "swapped_response"], seed="1") == found


def test_severity_and_the_missing_end_token_are_labelled():
    after = corrupt(examples(*[("a", f"a b c d {n}", None) for n in range(5)]), 0.4, ["unfinished"], seed=0)
    corrupted = after["corruption"] == "unfinished"
    assert after.filter(corrupted)["finished"].to_list() == [False, False]
    assert set(after.filter(corrupted)["severity"]) <= {0.8, 0.6, 0.4}
    assert after.filter(~corrupted)["finished"].all()
    assert after.filter(~corrupted)["severity"].null_count() == 3


def test_length_bins_are_exact_for_short_responses_and_a_quarter_wide_for_long_ones():
    bins = [length_bin("word " * words) for words in range(1, 60)]
    assert len(set(bins[:5])) == 5
    assert bins == sorted(bins)
    assert bins[35] == bins[43] != bins[44]  # 36 to 44 words together: 1.25 ** 16 is 35.5, 1.25 ** 17 is 44.4
    assert length_bin("") == length_bin("one") == 0
