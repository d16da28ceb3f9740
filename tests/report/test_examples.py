import polars as pl
from given.comparison import KEPT, pool, scores

from moesift.report.examples import of_rankings

KEEPS = pl.DataFrame([(m, f"{n:02}") for m, kept in KEPT.items() for n in kept], ["method", "id"], orient="row")


def rankings(frame):
    return of_rankings(frame, KEEPS, pool(), ["router", "random"])


def test_the_ends_of_a_ranking_begin_with_the_most_extreme():
    (router,) = rankings(scores("router").with_columns(method=pl.lit("router")))  # a random ranking shows nothing
    assert [example["id"] for example in router["best"]] == ["00", "01", "02", "03", "04"]
    assert [example["id"] for example in router["worst"]] == ["18", "17", "16", "15", "14"]  # 19 has no score
    assert [
        (one["score"], one["source"], one["corruption"], one["kept"]) for one in (router["best"][0], router["worst"][0])
    ] == [
        (19.0, "a", "clean", True),
        (1.0, "$b$ <&", "truncated", None),
    ]


def test_equal_scores_are_ordered_by_id():
    (router,) = rankings(scores("full").with_columns(method=pl.lit("router")).reverse())
    assert [example["id"] for example in router["best"]] == ["00", "01", "02", "03", "04"]


def test_a_method_without_a_score_shows_nothing():
    assert rankings(scores("router").with_columns(method=pl.lit("router"), score=pl.lit(None, pl.Float64))) == []


def test_a_text_has_its_roles_and_of_a_long_one_both_ends():
    (router,) = rankings(scores("router").with_columns(method=pl.lit("router")))
    short, long = router["best"][1]["text"], router["best"][0]["text"]
    assert short.startswith("user:\n\u202eשלום")
    assert short.endswith(" 2\n\nassistant:\nyes no yes no ")
    assert long == f"user:\n{'x' * 394} […] {'x' * (400 - 22)} 1\n\nassistant:\nyes no "
