import numpy as np
import polars as pl

from moesift.select.table import NO_RESPONSE, NOT_FINITE, score_table

EXAMPLES = pl.DataFrame(
    {"id": ["d", "b", "a", "c", "e"], "source": list("sssst"), "n_tokens": [3, 1, 2, 0, 4]}
).with_columns(refused=pl.lit(None, pl.String))


def test_best_first_ties_by_id_and_no_score_last_with_its_reason():
    values = np.array([1.0, 2.0, 2.0, np.nan, np.inf])
    assert score_table(EXAMPLES, values, {}).rows() == [
        ("a", "s", 2.0, 2, None),
        ("b", "s", 2.0, 1, None),
        ("d", "s", 1.0, 3, None),
        ("c", "s", None, 0, NO_RESPONSE),
        ("e", "t", None, 4, NOT_FINITE),
    ]


def test_what_a_method_refuses_has_a_reason():
    refused = {"it is too easy": np.array([False, True, False, True, False])}
    assert score_table(EXAMPLES, np.arange(5.0), refused).select("id", "score", "reason").rows() == [
        ("e", 4.0, None),
        ("a", 2.0, None),
        ("d", 0.0, None),
        ("b", None, "it is too easy"),
        ("c", None, NO_RESPONSE),
    ]


def test_what_has_no_tokens_says_why_and_not_that_it_is_too_long():
    examples = EXAMPLES.with_columns(refused=pl.Series([None, None, None, "no system turn", None]))
    assert score_table(examples, np.ones(5), {})[["id", "score", "reason"]].rows()[-1] == ("c", None, "no system turn")


def test_an_empty_pool_has_an_empty_table():
    assert score_table(EXAMPLES[:0], np.array([]), {}).columns == ["id", "source", "score", "n_tokens", "reason"]
