import pytest

from moesift.data.near_duplicates import near_duplicates, shingles

TEN = "one two three four five six seven eight nine ten"


def test_shingles_are_runs_of_five_words_without_case_and_punctuation():
    assert shingles("One, two -- THREE four five six!") == {"one two three four five", "two three four five six"}
    assert shingles("Yes. No!") == {"yes no"}
    assert shingles("?!") == set()


def test_pairs_have_their_exact_similarity():
    """TEN has six shingles; an additional last word adds one, another last word changes one."""
    texts = [TEN, f"{TEN} eleven", TEN.replace("ten", "zehn"), "something else entirely, of some length", TEN.upper()]
    pairs = [("a", "b", 6 / 7), ("a", "c", 5 / 7), ("a", "e", 1.0), ("b", "e", 6 / 7), ("c", "e", 5 / 7)]
    for threshold in (0.7, 0.9):
        found = near_duplicates(list("abcde"), texts, threshold)
        assert found.rows() == [(*ids, pytest.approx(value)) for *ids, value in pairs if value >= threshold]


def test_texts_without_words_are_similar_to_no_other():
    none = near_duplicates(["a", "b", "c"], ["!!!", "???", ""], 0.5)
    assert none.height == 0
    assert none.columns == ["id", "other", "similarity"]


def test_nearly_every_pair_is_found():
    """300 texts of 60 words, each with a copy in which one word in the middle differs: similarity 51 / 61 = 0.836."""
    texts = [" ".join(f"w{number}x{place}" for place in range(60)) for number in range(300)]
    copies = [text.replace("x30", "y30") for text in texts]
    found = near_duplicates([f"{number}" for number in range(600)], texts + copies, 0.8)
    assert found["similarity"].min() == pytest.approx(51 / 61)
    assert found.height >= 295
    assert all(int(other) == int(one) + 300 for one, other in found.select("id", "other").iter_rows())


def test_chinese_and_japanese_are_compared_by_characters():
    """Of 20 characters there are 16 shingles; another one in the middle changes 5 of them, another last one 1."""
    text = "请把下面这段话翻译成英文并解释其中的成语"
    assert len(shingles(text)) == 16
    assert "请 把 下 面 这" in shingles(text)
    others = [text.replace("并", "且"), f"{text[:-1]}词", "今天天气很好，我们一起去公园散步吧！请带上雨伞"]
    found = near_duplicates(list("abcd"), [f"{text}。", *others], 0.5)
    assert found.rows() == [("a", "b", pytest.approx(11 / 21)), ("a", "c", pytest.approx(15 / 17))]
    tower = "東京タワーは一九五八年に完成した高さ三百三十三メートルの塔です"
    found = near_duplicates(["a", "b"], [f"「{tower}」", f"{tower}！"], 0.9)
    assert found.rows() == [("a", "b", 1.0)]
