import random
from collections import Counter
from typing import get_args

import polars as pl
import pytest

from moesift.config import Corruption
from moesift.corruption import corrupt, shuffled_words, swapped_response, truncated, twins, wrong_choice
from moesift.errors import UserError
from moesift.pool import EXAMPLE

CORRUPTIONS = get_args(Corruption)


def examples(*rows):
    """Rows of (source, response, choices)."""
    return pl.DataFrame(
        [
            (
                source,
                index,
                [{"role": "user", "content": f"question {index}"}, {"role": "assistant", "content": response}],
                choices,
                "clean",
            )
            for index, (source, response, choices) in enumerate(rows)
        ],
        schema=EXAMPLE,
        orient="row",
    )


def responses(frame):
    return [turns[-1]["content"] for turns in frame["messages"].to_list()]


@pytest.mark.parametrize("seed", range(20))
def test_single_corruptions(seed):
    rng = random.Random(seed)
    assert wrong_choice("b", ["a", "b", "c", "b"], rng) in {"a", "c"}
    assert swapped_response("yes", ["yes", "yes", "yes", "no"], rng) == "no"
    assert shuffled_words("stop\n  go", rng) == "go\n  stop"
    assert truncated("one two", rng) == "one"
    assert truncated(" a b\nc  d e f g h i j", rng) in {
        " a b",
        " a b\nc",
        " a b\nc  d",
        " a b\nc  d e",
        " a b\nc  d e f",
    }


def test_shuffling_keeps_the_words_and_changes_their_order():
    for seed in range(20):
        shuffled = shuffled_words("a a b", random.Random(seed))
        assert shuffled in {"a b a", "b a a"}


def mixed(rows):
    return examples(*[("quiz", f"word {n} again", [f"word {n} again", f"other {n}"]) for n in range(rows)])


def test_exactly_the_share_is_corrupted_with_each_kind_equally_often():
    before = mixed(40)
    after = corrupt(before, 0.3, CORRUPTIONS, seed=1)
    assert Counter(after["corruption"]) == {"clean": 28, **dict.fromkeys(CORRUPTIONS, 3)}
    changed = [old != new for old, new in zip(responses(before), responses(after), strict=True)]
    assert changed == [label != "clean" for label in after["corruption"]]


def test_only_the_response_and_the_label_change():
    before, after = mixed(8), corrupt(mixed(8), 0.9, CORRUPTIONS, seed=0)
    columns = ["source", "source_index", "choices"]
    assert after.select(columns).equals(before.select(columns))
    assert [turns[0]["content"] for turns in after["messages"].to_list()] == [f"question {n}" for n in range(8)]
    assert after.schema == before.schema


def test_the_seed_decides():
    assert corrupt(mixed(30), 0.5, CORRUPTIONS, seed=3).equals(corrupt(mixed(30), 0.5, CORRUPTIONS, seed=3))
    assert not corrupt(mixed(30), 0.5, CORRUPTIONS, seed=3).equals(corrupt(mixed(30), 0.5, CORRUPTIONS, seed=4))


def test_an_example_gets_a_kind_that_applies_to_it():
    rows = [("yesno", "yes", ["yes", "no"])] * 5 + [("essay", f"some words {n}", None) for n in range(5)]
    after = corrupt(examples(*rows), 0.99, CORRUPTIONS, seed=0)  # all ten
    kinds = after["corruption"].to_list()
    # "yes" is one word and the only response of its source; essays have no choices.
    assert kinds[:5] == ["wrong_choice"] * 5
    assert sorted(Counter(kinds[5:]).values()) == [1, 2, 2]
    assert set(kinds[5:]) == {"swapped_response", "shuffled_words", "truncated"}
    assert responses(after)[:5] == ["no"] * 5


@pytest.mark.parametrize("seed", range(10))
def test_examples_with_one_kind_do_not_unbalance_the_kinds(seed):
    rows = [("a", str(n), None) for n in range(5)] + [("a", f"some words {n}", None) for n in range(5)]
    after = corrupt(examples(*rows), 0.99, ["swapped_response", "truncated"], seed)
    assert after["corruption"].to_list() == ["swapped_response"] * 5 + ["truncated"] * 5


def test_a_swapped_response_comes_from_the_same_source():
    rows = [("a", "a1", []), ("a", "a2", []), ("b", "b1", []), ("b", "b2", [])]
    assert responses(corrupt(examples(*rows), 0.99, ["swapped_response"], seed=0)) == ["a2", "a1", "b2", "b1"]


def test_no_share_leaves_everything_clean():
    assert corrupt(mixed(4), 0, [], seed=0).equals(mixed(4))


def test_too_few_corruptible_examples_are_an_error():
    with pytest.raises(UserError, match=r"2 of 4 examples are to be corrupted, but wrong_choice applies to 1;"):
        corrupt(examples(("a", "x", ["x", "y"]), *[("a", "x y", None)] * 3), 0.5, ["wrong_choice"], seed=0)


def test_every_example_that_a_kind_applies_to_has_a_twin():
    frame = examples(("a", "one two", ["one two", "three"]), ("b", "word", []), ("a", "four five", None))
    found = twins(frame, ["wrong_choice", "swapped_response"], seed="1")
    assert found[1] is None  # no choices, and no other response in its source
    # The third can only be swapped, so it is served first, and the first gets the other kind.
    assert [turns[-1]["content"] for turns in (found[0], found[2])] == ["three", "one two"]
    assert found[0][:-1] == frame["messages"].to_list()[0][:-1]
    assert twins(frame, ["wrong_choice", "swapped_response"], seed="1") == found
