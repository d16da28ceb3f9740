import pytest

from moesift.data.near_duplicates import near_duplicates, shingles

TEN = "one two three four five six seven eight nine ten"


def test_shingles_are_runs_of_five_words_without_case_and_punctuation():
    assert shingles("One, two -- THREE four five six!") == {"one two three four five", "two three four five six"}
    assert shingles("Yes. No!") == {"yes no"}
    assert shingles("?!") == set()


def test_pairs_carry_their_exact_similarity():
    """TEN has six shingles; one word more at the end adds one, one other word at the end changes one."""
    texts = [TEN, f"{TEN} eleven", TEN.replace("ten", "zehn"), "something else entirely, of some length", TEN.upper()]
    found = near_duplicates(list("abcde"), texts, 0.7)
    assert found.rows() == [
        ("a", "b", pytest.approx(6 / 7)),
        ("a", "c", pytest.approx(5 / 7)),
        ("a", "e", 1.0),
        ("b", "e", pytest.approx(6 / 7)),
        ("c", "e", pytest.approx(5 / 7)),
    ]
    assert near_duplicates(list("abcde"), texts, 0.9).rows() == [("a", "e", 1.0)]


def test_texts_without_words_are_like_no_other():
    assert near_duplicates(["a", "b", "c"], ["!!!", "???", ""], 0.5).height == 0


def test_nothing_near_gives_an_empty_frame():
    assert near_duplicates(["a", "b"], ["what is iron", "who was Ann"], 0.5).columns == ["id", "other", "similarity"]


def test_nearly_every_pair_is_found():
    """300 texts of 60 words, each with a copy that has one word in the middle changed: similarity 51 / 61 = 0.836."""
    texts = [" ".join(f"w{number}x{place}" for place in range(60)) for number in range(300)]
    copies = [text.replace("x30", "y30") for text in texts]
    ids = [f"{number}" for number in range(600)]
    found = near_duplicates(ids, texts + copies, 0.8)
    assert found["similarity"].min() == pytest.approx(51 / 61)
    assert found.height >= 295
    assert all(int(other) == int(one) + 300 for one, other in found.select("id", "other").iter_rows())
