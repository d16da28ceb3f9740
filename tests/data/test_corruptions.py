import random
from typing import get_args

import pytest

from moesift.config import Corruption
from moesift.data.corruptions import MAKE, REFUSALS, Given, applicable

KINDS = get_args(Corruption)
ASKED = [{"role": "user", "content": "how many legs has a dog"}]


def given(response, choices=(), alike=(), own=(), foreign=()):
    return Given([*ASKED, {"role": "assistant", "content": response}], choices, alike, own, foreign)


def made(kind, example, seed=0):
    corrupted = MAKE[kind](example, random.Random(seed))
    return corrupted.turns[-1]["content"]


def outcomes(kind, example):
    """What 60 seeds make of the example."""
    assert applicable(example, [kind]) == [kind]
    return {made(kind, example, seed) for seed in range(60)}


def test_every_kind_has_a_function():
    assert set(MAKE) == set(KINDS)


def test_swaps_draw_from_their_own_lists_and_never_the_response_itself():
    example = given("b", ["a", "b", "c"], alike=["b", "d"], own=["b", "d", "e"], foreign=["b", "f"])
    assert outcomes("wrong_choice", example) == {"a", "c"}
    assert outcomes("swapped_alike", example) == {"d"}
    assert outcomes("swapped_response", example) == {"d", "e"}
    assert outcomes("swapped_across", example) == {"f"}


def test_a_swap_draws_a_response_as_often_as_it_occurs():
    example = given("no", own=["yes"] * 9 + ["maybe"])
    drawn = [made("swapped_response", example, seed) for seed in range(1000)]
    assert 870 <= drawn.count("yes") <= 930  # 900 expected; three standard deviations are 28


def test_a_wrong_number_is_a_near_miss_of_the_last_number():
    assert outcomes("wrong_number", given("2 + 40 = 42.")) <= {
        f"2 + 40 = {n}." for n in [*range(33, 42), *range(43, 52)]
    }
    assert outcomes("wrong_number", given("3")) <= {str(n) for n in range(13) if n != 3}  # never below zero
    assert outcomes("wrong_number", given("1.50 m")) <= {f"{n / 100:.2f} m" for n in range(141, 160) if n != 150}
    long = 10**19
    assert outcomes("wrong_number", given(str(long))) <= {str(n) for n in range(long - 9, long + 10) if n != long}
    assert outcomes("wrong_number", given("$1,999")) <= {f"${n:,}" for n in range(1990, 2009) if n != 1999}


def test_shuffling_keeps_the_words_and_the_white_space_and_changes_the_order():
    assert outcomes("shuffled_words", given("a a b")) == {"a b a", "b a a"}
    assert outcomes("shuffled_words", given("stop\n  go")) == {"go\n  stop"}


@pytest.mark.parametrize(("kind", "replaced", "severity"), [("noise_10", 1, 0.1), ("noise_30", 3, 0.3)])
def test_noise_replaces_a_share_of_the_words(kind, replaced, severity):
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for seed in range(20):
        corrupted = MAKE[kind](given(" ".join(words), own=["x y", "one"]), random.Random(seed))
        after = corrupted.turns[-1]["content"].split()
        changed = [new for new, old in zip(after, words, strict=True) if new != old]
        assert len(changed) == replaced
        assert set(changed) <= {"x", "y", "one"}
        assert corrupted.severity == severity


@pytest.mark.parametrize(("kind", "finished"), [("truncated", True), ("unfinished", False)])
def test_a_cut_keeps_20_to_60_percent_of_the_words(kind, finished):
    kept = {" a b", " a b\nc", " a b\nc  d", " a b\nc  d e", " a b\nc  d e f"}
    assert outcomes(kind, given(" a b\nc  d e f g h i j")) == kept
    corrupted = MAKE[kind](given("a b c d e f g h i j"), random.Random(1))
    assert corrupted.finished == finished
    assert corrupted.severity == pytest.approx(1 - len(corrupted.turns[-1]["content"].split()) / 10)
    assert made(kind, given("one two")) == "one"


def test_repetition_loops_the_last_words_to_the_old_length():
    assert outcomes("repeated", given("a b c d")) == {"a a a a", "a b b b", "a b a b"}
    assert outcomes("repeated", given("a b b b")) == {"a a a a", "a b a b"}  # and never the response itself
    corrupted = MAKE["repeated"](given("a b c d e f g h i j k l"), random.Random(0))
    before, after = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"], corrupted.turns[-1]["content"].split()
    start = round(12 * (1 - corrupted.severity))
    assert len(after) == 12
    assert after[:start] == before[:start]
    assert set(after[start:]) <= set(before[max(0, start - 4) : start])


def test_an_empty_response_a_refusal_and_gibberish():
    example = given("It has four legs")
    assert outcomes("empty", example) == {""}
    assert outcomes("refusal", example) == set(REFUSALS)
    for text in outcomes("gibberish", example):
        assert [len(word) for word in text.split()] == [2, 3, 4, 4]
        assert text != "It has four legs"


def test_the_negative_control_spoils_the_instruction_alone():
    corrupted = MAKE["perturbed_instruction"](given("four"), random.Random(0))
    assert corrupted.turns[-1] == {"role": "assistant", "content": "four"}
    assert corrupted.turns[0]["content"] != ASKED[0]["content"]
    assert sorted(corrupted.turns[0]["content"].split()) == sorted(ASKED[0]["content"].split())


@pytest.mark.parametrize(
    ("example", "fitting"),
    [
        (given(""), {"refusal", "perturbed_instruction"}),
        (given("yes", own=["yes"], alike=["yes"], choices=["yes"]), {"empty", "refusal", "gibberish"}),
        (given("a a a a"), {"truncated", "unfinished", "empty", "refusal", "gibberish"}),
        (given("a b", own=["a b c"]), {"swapped_response", "shuffled_words", "truncated", "unfinished"}),
        (given("a b a", own=["b a b"]), {"swapped_response", "shuffled_words", "truncated", "unfinished"}),
        (given("a b a", own=["a c"]), {"noise_10", "noise_30"}),
        (given(REFUSALS[0]), {"repeated", "shuffled_words"}),
        (given("7"), {"wrong_number"}),
    ],
)
def test_a_kind_applies_only_where_it_changes_something(example, fitting):
    found = set(applicable(example, KINDS))
    assert fitting <= found
    always = {"empty", "gibberish", "refusal", "perturbed_instruction"}
    if not set(example.response.split()) & {"b"} and example.response not in ("7", REFUSALS[0]):
        assert found <= fitting | always
    for kind in found:
        before = list(example.turns)
        assert all(MAKE[kind](example, random.Random(seed)).turns != before for seed in range(20))


def test_the_seed_decides():
    example = given("a b c d e f", ["a", "b", "c"], ["x", "y"], ["x", "y z"], ["v", "w"])
    for kind in applicable(example, KINDS):
        assert MAKE[kind](example, random.Random(5)) == MAKE[kind](example, random.Random(5))
