import polars as pl
from given.comparison import pool, scores, selections

from moesift.report.examples import of_rankings, shortened


def ids(ranking):
    return {part: [example["id"] for example in ranking[part]] for part in ("best", "middle", "worst")}


def test_the_parts_of_a_ranking_begin_with_the_most_extreme_and_do_not_overlap():
    (router,) = of_rankings(scores(), selections(), pool(), ["router", "random"])
    assert router["method"] == "router"  # a random ranking shows nothing
    assert ids(router) == {
        "best": ["00", "01", "02", "03", "04", "05", "06"],
        "middle": ["06", "07", "08", "09", "10", "11", "12"],
        "worst": ["18", "17", "16", "15", "14", "13", "12"],  # 19 has no score
    }


def test_an_example_says_where_it_is_kept():
    (router,) = of_rankings(scores(), selections(), pool(), ["router"])
    assert [example["kept"] for example in router["middle"]] == [[0.5]] * 4 + [[]] * 3
    best = router["best"][0]
    assert (best["score"], best["source"], best["corruption"]) == (19.0, "a", "clean")


def test_ten_of_each_part_are_shown_of_a_large_pool_equal_scores_by_id():
    many = pl.DataFrame({"method": "m", "id": [f"{n:03}" for n in range(100, 0, -1)], "score": 1.0})
    texts = many.select("id", source=pl.lit("a"), corruption=pl.lit("clean"), messages=pl.lit([]))
    texts = texts.with_columns(messages=pl.Series([[{"role": "user", "content": "x"}]] * 100))
    (found,) = of_rankings(many, selections().clear(), texts, ["m"])
    assert ids(found) == {
        "best": [f"{n:03}" for n in range(1, 11)],
        "middle": [f"{n:03}" for n in range(46, 56)],
        "worst": [f"{n:03}" for n in range(100, 90, -1)],
    }


def test_a_method_without_a_score_shows_nothing():
    none = scores().with_columns(score=pl.lit(None, pl.Float64))
    (router,) = of_rankings(none, selections(), pool(), ["router"])
    assert ids(router) == {"best": [], "middle": [], "worst": []}


def test_the_middle_of_long_messages_and_conversations_is_cut_out():
    turns = [{"role": "user", "content": f"{n}" + "x" * 700 + "?"} for n in range(6)]
    found = shortened({"id": "a", "messages": turns})
    assert [message["content"][0] for message in found["messages"]] == ["0", "1", "4", "5"]
    assert found["left_out"] == 2
    assert found["messages"][0]["content"] == "0" + "x" * 299 + " […] " + "x" * 299 + "?"
    short = {"id": "a", "messages": turns[:4]}
    assert (len(shortened(short)["messages"]), shortened(short)["left_out"]) == (4, 0)
