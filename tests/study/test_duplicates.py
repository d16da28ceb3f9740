import random

import pytest

from moesift.study.duplicates import REPLACED, copy, found

# Twenty texts of forty words each, no two of which share a word.
TEXTS = [" ".join(f"word{number}x{place}" for place in range(40)) for number in range(20)]


def test_a_copy_differs_by_the_asked_words_and_by_the_case_of_its_letters():
    made = copy(TEXTS[0], 0.1, ["new"], random.Random(0))
    words = made.split()
    assert sum(word == "NEW" for word in words) == 4
    assert [word.lower() for word in words if word != "NEW"] == [
        word for word, other in zip(TEXTS[0].split(), words, strict=True) if other != "NEW"
    ]
    assert copy("One, two;\nthree!", 0.0, ["new"], random.Random(0)) == "ONE, TWO;\nTHREE!"


def test_the_nearer_a_copy_is_the_surer_it_is_found():
    rows = {(row["replaced"], row["threshold"]): row for row in found(TEXTS, [0.5, 0.9], seed=0)}
    assert rows.keys() == {(share, threshold) for share in REPLACED for threshold in (0.5, 0.9)}
    # 36 runs of five words. One replaced word of forty spoils one to five of them: at best 35 of 37 are shared.
    assert rows[0.0, 0.9]["found"] == rows[0.0, 0.5]["found"] == 1.0
    assert rows[0.02, 0.5]["found"] == 1.0  # at worst 31 of 41
    assert rows[0.05, 0.5]["found"] == 1.0  # two words: at worst 26 of 46
    assert rows[0.05, 0.9]["found"] == 0.0  # at best 34 of 38
    assert {row["copies"] for row in rows.values()} == {6}
    assert {row["others"] for row in rows.values()} == {0.0}


def test_pairs_of_originals_are_counted_apart():
    rows = found([*TEXTS, TEXTS[0]], [0.9], seed=0)
    assert rows[0]["others"] == pytest.approx(1 / 21)
