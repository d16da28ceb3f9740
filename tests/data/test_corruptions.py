import random
from dataclasses import replace
from typing import get_args

import pytest

from moesift.config import Corruption
from moesift.data.corruptions import MAKE, REFUSALS, Example, applicable

KINDS = get_args(Corruption)
ASKED = {"role": "user", "content": "how many legs has a dog"}


def example(response, **candidates):
    return Example([ASKED, {"role": "assistant", "content": response}], **candidates)


def corrupted(kind, given, seed=0):
    return MAKE[kind](given, random.Random(seed)).turns[-1]["content"]


def outcomes(kind, given):
    """What 60 seeds make of the example."""
    assert applicable(given, [kind]) == [kind]
    return {corrupted(kind, given, seed) for seed in range(60)}


def test_every_kind_has_a_function():
    assert set(MAKE) == set(KINDS)


def test_swaps_take_from_their_own_candidates_and_never_the_response_itself():
    given = example(
        "b", choices=["a", "b", "c"], similar=["b", "d"], same_source=["b", "d", "e"], other_sources=["b", "f"]
    )
    assert outcomes("wrong_choice", given) == {"a", "c"}
    assert outcomes("swapped_alike", given) == {"d"}
    assert outcomes("swapped_response", given) == {"d", "e"}
    assert outcomes("swapped_across", given) == {"f"}


def test_a_swap_takes_a_response_as_often_as_it_occurs():
    given = example("no", same_source=["yes"] * 9 + ["maybe"])
    taken = [corrupted("swapped_response", given, seed) for seed in range(1000)]
    assert 870 <= taken.count("yes") <= 930  # 900 expected; three standard deviations are 28


@pytest.mark.parametrize(
    ("response", "possible"),
    [
        ("2 + 40 = 42.", [f"2 + 40 = {n}." for n in range(33, 52)]),
        ("3", map(str, range(13))),  # never below zero
        ("1.50 m", [f"{n / 100:.2f} m" for n in range(141, 160)]),
        (str(10**19), [str(10**19 + n) for n in range(-9, 10)]),
        ("$1,999", [f"${n:,}" for n in range(1990, 2009)]),
    ],
)
def test_a_wrong_number_is_a_near_miss_of_the_last_number(response, possible):
    found = outcomes("wrong_number", example(response))
    assert found <= set(possible) - {response}
    assert len(found) > 1


def test_shuffling_keeps_the_words_and_the_white_space_and_changes_the_order():
    assert outcomes("shuffled_words", example("a a b")) == {"a b a", "b a a"}
    assert outcomes("shuffled_words", example("stop\n  go")) == {"go\n  stop"}


@pytest.mark.parametrize(("kind", "replaced", "severity"), [("noise_10", 1, 0.1), ("noise_30", 3, 0.3)])
def test_noise_replaces_a_share_of_the_words(kind, replaced, severity):
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for seed in range(20):
        result = MAKE[kind](example(" ".join(words), same_source=["x y", "one"]), random.Random(seed))
        after = result.turns[-1]["content"].split()
        changed = [new for new, old in zip(after, words, strict=True) if new != old]
        assert len(changed) == replaced
        assert set(changed) <= {"x", "y", "one"}
        assert result.severity == severity


@pytest.mark.parametrize(("kind", "finished"), [("truncated", True), ("unfinished", False)])
def test_a_cut_keeps_20_to_60_percent_of_the_words(kind, finished):
    kept = {" a b", " a b\nc", " a b\nc  d", " a b\nc  d e", " a b\nc  d e f"}
    assert outcomes(kind, example(" a b\nc  d e f g h i j")) == kept
    result = MAKE[kind](example("a b c d e f g h i j"), random.Random(1))
    assert result.finished == finished
    assert result.severity == pytest.approx(1 - len(result.turns[-1]["content"].split()) / 10)
    assert corrupted(kind, example("one two")) == "one"


def test_repetition_loops_the_last_words_to_the_old_length():
    assert outcomes("repeated", example("a b c d")) == {"a a a a", "a b b b", "a b a b"}
    assert outcomes("repeated", example("a b b b")) == {"a a a a", "a b a b"}  # and never the response itself
    before = list("abcdefghijkl")
    result = MAKE["repeated"](example(" ".join(before)), random.Random(0))
    after, start = result.turns[-1]["content"].split(), round(12 * (1 - result.severity))
    assert len(after) == 12
    assert after[:start] == before[:start]
    assert set(after[start:]) <= set(before[max(0, start - 4) : start])


def test_an_empty_response_a_refusal_and_gibberish():
    given = example("It has four legs")
    assert outcomes("empty", given) == {""}
    assert outcomes("refusal", given) == set(REFUSALS)
    for text in outcomes("gibberish", given):
        assert [len(word) for word in text.split()] == [2, 3, 4, 4]
        assert text != "It has four legs"


def test_the_negative_control_changes_the_instruction_alone():
    instruction, response = MAKE["perturbed_instruction"](example("four"), random.Random(0)).turns
    assert response == {"role": "assistant", "content": "four"}
    assert instruction["content"] != ASKED["content"]
    assert sorted(instruction["content"].split()) == sorted(ASKED["content"].split())


ALWAYS = {"empty", "gibberish", "refusal", "perturbed_instruction"}  # for any response but an empty one or a refusal
CUTS = {"truncated", "unfinished"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (example(""), {"refusal", "perturbed_instruction"}),
        (example("yes", same_source=["yes"], similar=["yes"], choices=["yes"]), ALWAYS),
        (example("a a a a"), ALWAYS | CUTS),
        (example("a b", same_source=["a b c"]), ALWAYS | CUTS | {"swapped_response", "shuffled_words"}),
        (example("a b a", same_source=["b a b"]), ALWAYS | CUTS | {"swapped_response", "shuffled_words"}),
        (example("a b a", same_source=["a c", "a b a"]),
         ALWAYS | CUTS | {"swapped_response", "shuffled_words", "noise_10", "noise_30"}),
        (example("a b a b"), ALWAYS | CUTS | {"shuffled_words", "repeated"}),
        (example(REFUSALS[0]), (ALWAYS | CUTS | {"shuffled_words", "repeated"}) - {"refusal"}),
        (example("7"), ALWAYS | {"wrong_number"}),
        (replace(example("yes"), turns=[{"role": "assistant", "content": "yes"}]), ALWAYS - {"perturbed_instruction"}),
    ],
)  # fmt: skip
def test_a_kind_applies_only_where_it_changes_something(given, expected):
    assert set(applicable(given, KINDS)) == expected
    for kind in expected:
        before = list(given.turns)
        assert all(MAKE[kind](given, random.Random(seed)).turns != before for seed in range(20))


def test_the_seed_decides():
    given = example("a b 3 d e f", choices=["a", "b"], similar=["x"], same_source=["x", "y z"], other_sources=["v"])
    assert set(applicable(given, KINDS)) == set(KINDS)
    for kind in KINDS:
        assert MAKE[kind](given, random.Random(5)) == MAKE[kind](given, random.Random(5))
