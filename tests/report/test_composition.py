import numpy as np
import polars as pl
import pytest

from moesift.report.composition import described, fifths, kept_and_thrown, kept_of_groups, script


def pool(*answers, sources=None):
    turns = [[{"role": "user", "content": "ask" * 50}, {"role": "assistant", "content": text}] for text in answers]
    return pl.DataFrame(
        {
            "id": [f"{n}" for n in range(len(answers))],
            "source": sources or ["a"] * len(answers),
            "messages": turns,
            "corruption": ["clean"] * (len(answers) - 1) + ["truncated"],
        }
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Paris", "Latin"),
        ("Été à São Tomé", "Latin"),
        ("东京", "Han"),
        ("東京はどこですか", "Kana"),
        ("서울", "Hangul"),
        ("Это Москва, or is it Moscow", "Latin"),
        ("Это город Москва, or Rome", "Cyrillic"),
        ("مرحبا", "Arabic"),
        ("שלום", "Hebrew"),
        ("नमस्ते", "Devanagari"),
        ("α + β = γ", "Greek"),
        ("สวัสดี", "Thai"),
        ("ქართული", "other scripts"),
        ("42 = 6 * 7", "no letters"),
        ("🙂🙂", "no letters"),
        ("", "no letters"),
        ("a東", "Latin"),  # as many of both: the first
    ],
)
def test_the_script_is_that_of_most_letters(text, named):
    assert pl.select(script(pl.lit(text))).item() == named


def test_the_response_is_what_the_assistant_says_in_all_its_turns():
    turns = [("system", "s" * 9), ("user", "u" * 9), ("assistant", "abc"), ("user", "u" * 9), ("assistant", "дежз")]
    frame = pool("").with_columns(messages=pl.Series([[{"role": role, "content": text} for role, text in turns]]))
    (row,) = described(frame).to_dicts()
    assert (row["characters"], row["script"]) == (8, "Cyrillic")  # with the line between them


def test_small_sources_are_counted_together_and_groups_stand_by_size():
    sources = ["big"] * 3 + [f"source {n:02}" for n in range(11)]
    found = described(pool(*["a"] * 14, sources=sources))
    assert found["source"].to_list() == ["big"] * 3 + [f"source {n:02}" for n in range(9)] + ["2 other sources"] * 2
    assert found.sort("source")["source"][0] == "big"


def test_a_fifth_holds_equal_lengths_together():
    names, place = fifths(np.arange(1, 11))
    assert names == ["1–2", "3–4", "5–6", "7–8", "9–10"]
    assert place.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    names, place = fifths(np.array([1000, 1, 1, 1, 1]))
    assert names == ["1", "2–1,000"]
    assert place.tolist() == [1, 0, 0, 0, 0]
    names, place = fifths(np.array([3, 3]))
    assert (names, place.tolist()) == (["3"], [0, 0])


def test_the_kept_share_of_a_group_is_the_mean_over_seeds_and_0_where_nothing_is_kept():
    examples = described(pool("a", "b", "c", "д", sources=["x", "x", "y", "y"]))
    kept = [("m", 0.5, 0, "0"), ("m", 0.5, 0, "1"), ("m", 0.5, 1, "0"), ("m", 0.5, 1, "2")]
    found = kept_of_groups(pl.DataFrame(kept, schema=["method", "ratio", "seed", "id"], orient="row"), examples)
    assert found.select("by", "group", "pool", "kept").rows() == [
        ("source", "x", 2, 0.75),
        ("source", "y", 2, 0.25),
        ("length", "1", 4, 0.5),
        ("script", "Latin", 3, pytest.approx(2 / 3)),
        ("script", "Cyrillic", 1, 0.0),
    ]
    assert set(found.select("method", "ratio").rows()) == {("m", 0.5)}


def test_what_is_kept_stands_beside_what_is_thrown_away():
    examples = described(pool("a", "bb", "ccc", "dddd"))
    kept = pl.DataFrame({"method": ["m"] * 4, "ratio": [0.25] + [1.0] * 3, "id": ["3", "0", "1", "2"]})
    kept = pl.concat([kept, pl.DataFrame({"method": ["m"], "ratio": [1.0], "id": ["3"]})])
    assert kept_and_thrown(kept, examples, ["m"]).rows() == [
        (0.25, "m", 1, 3, 4.0, 2.0, 1.0, 0.0),
        (1.0, "m", 4, 0, 2.5, None, 0.25, None),
    ]
