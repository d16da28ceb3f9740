import polars as pl
import pytest

from moesift.report.composition import groups, kept_of_groups, script


def pool(*answers, sources=None):
    turns = [[{"role": "user", "content": "ask" * 50}, {"role": "assistant", "content": text}] for text in answers]
    ids = [f"{n}" for n in range(len(answers))]
    kinds = ["clean"] * (len(answers) - 1) + ["truncated"]
    return pl.DataFrame({"id": ids, "source": sources or ["a"] * len(ids), "messages": turns, "corruption": kinds})


def grouped(frame, lengths=None):
    return groups(frame, frame.select("id", n_tokens=pl.Series(lengths or [1] * frame.height)))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Été à São Tomé", "Latin"),
        ("东京", "Han"),
        ("東京はどこですか", "Hiragana"),
        ("서울", "Hangul"),
        ("Это Москва, or is it Moscow", "Latin"),
        ("Это город Москва, or Rome", "Cyrillic"),
        ("مرحبا", "Arabic"),
        ("ქართული", "other scripts"),
        ("42 = 6 * 7 🙂", "no letters"),
        ("", "no letters"),
        ("a東", "Latin"),  # as many of both: the first
    ],
)
def test_the_script_is_that_of_most_letters(text, name):
    assert pl.select(script(pl.lit(text))).item() == name


def test_the_response_is_what_the_assistant_says_in_all_its_turns():
    turns = [("system", "s" * 9), ("user", "u" * 9), ("assistant", "abc"), ("user", "u" * 9), ("assistant", "дежз")]
    frame = pool("").with_columns(messages=pl.Series([[{"role": role, "content": text} for role, text in turns]]))
    assert grouped(frame)["script"].to_list() == ["Cyrillic"]


def test_small_sources_are_counted_together_and_groups_are_in_the_order_of_a_table():
    sources = ["big"] * 3 + [f"source {n:02}" for n in range(11)]
    found = grouped(pool(*["a"] * 14, sources=sources), [1000, *range(1, 14)])
    assert found["source"].to_list() == ["big"] * 3 + [f"source {n:02}" for n in range(9)] + ["2 other sources"] * 2
    assert found.sort("source")["source"][0] == "big"
    assert found.sort("length")["length"].unique(maintain_order=True).to_list() == [
        *("1–3", "4–6", "7–9", "10–12", "13–1,000"),
    ]


def test_a_group_without_labels_is_left_out():
    clean = pool("a").with_columns(corruption=pl.lit("clean"))
    assert grouped(clean).columns == ["id", "source", "length", "script"]


def test_the_kept_share_of_a_group_is_0_where_nothing_is_kept():
    examples = grouped(pool("a", "b", "c", "д", sources=["x", "x", "y", "y"]), [5, 5, 5, 9])
    kept = [("m", "ratio-0.5", 0, "0"), ("m", "ratio-0.5", 0, "1"), ("m", "ratio-0.5", 1, "2")]
    found = kept_of_groups(pl.DataFrame(kept, schema=["method", "budget", "seed", "id"], orient="row"), examples)
    assert found.filter(seed=0).select("by", "group", "examples", "kept").rows() == [
        ("source", "x", 2, 1.0),
        ("source", "y", 2, 0.0),
        ("length", "5", 3, pytest.approx(2 / 3)),
        ("length", "9", 1, 0.0),
        ("script", "Latin", 3, pytest.approx(2 / 3)),
        ("script", "Cyrillic", 1, 0.0),
        ("corruption", "clean", 3, pytest.approx(2 / 3)),
        ("corruption", "truncated", 1, 0.0),
    ]
    assert found.filter(seed=1, by="source")["kept"].to_list() == [0.0, 0.5]
