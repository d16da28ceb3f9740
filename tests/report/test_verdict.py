import polars as pl
import pytest
from moesift.report.verdict import headline, judged


def summary(*rows):
    return pl.DataFrame(
        [(method, ratio, "heldout", value, 0.02, seeds) for method, ratio, value, seeds in rows],
        schema=["method", "ratio", "outcome", "value", "stderr", "seeds"],
        orient="row",
    )


def differences(*rows):
    """Rows of method, ratio, difference, interval over seeds, p, interval over questions, number of seeds."""
    schema = ["method", "ratio", "difference", "low", "high", "p", "low_questions", "high_questions", "seeds"]
    types = {**dict.fromkeys(schema, pl.Float64), "method": pl.String, "seeds": pl.Int64}
    return judged(pl.DataFrame(rows, schema=types, orient="row").with_columns(outcome=pl.lit("heldout")))


def verdicts(*tests, seeds=3):
    """Judge differences and their p-values, each as one of losses and as one of accuracies."""
    rows = [(outcome, *test, seeds) for outcome in ("heldout", "mmlu") for test in tests]
    schema = {"outcome": pl.String, "difference": pl.Float64, "p": pl.Float64, "seeds": pl.Int64}
    found = judged(pl.DataFrame(rows, schema=schema, orient="row"))["verdict"].to_list()
    return found[: len(tests)], found[len(tests) :]


def test_a_difference_counts_where_its_test_does():
    assert verdicts((-0.2, 0.04)) == (["better"], ["worse"])
    assert verdicts((0.2, 0.04)) == (["worse"], ["better"])
    assert verdicts((-0.2, 0.06)) == (["undecided"], ["undecided"])
    assert verdicts((-0.2, None)) == (["undecided"], ["undecided"])  # the same in all seeds: there is no test
    assert verdicts((-0.2, None), seeds=1) == ([None], [None])


def test_of_many_tests_chance_finds_nothing():
    # Holm: 0.04 * 2 is too much; 0.02 * 2 is not, and then 0.04 * 1 is not.
    assert verdicts((-0.2, 0.04), (-0.1, 0.9)) == (["undecided"] * 2, ["undecided"] * 2)
    assert verdicts((-0.2, 0.04), (-0.1, 0.02)) == (["better"] * 2, ["worse"] * 2)


def test_several_seeds_say_who_is_below_random_by_how_much_and_who_is_not():
    losses = summary(("nll", 0.1, 4.0, 3), ("random", 0.1, 4.2, 3), ("base", None, 5.0, 1))
    found = headline(
        losses,
        differences(
            ("router", 0.1, 0.1, 0.05, 0.15, 0.01, -1.0, 1.0, 3),
            ("nll", 0.1, -0.2, -0.3, -0.1, 0.01, -1.0, 1.0, 3),
            ("ifd", 0.1, -0.1, -0.3, 0.1, 0.4, -0.3, -0.1, 3),
        ),
    )
    assert found == [
        "Yes: a selection is better than random.",
        "Keeping 10% of the pool, nll has the lowest held-out loss (4.000 ± 0.020 nats per token); over 3 paired "
        "seeds, nll (-0.200, 95% interval -0.300 to -0.100) is below random, router (+0.100) is above random, one "
        "other cannot be told from random.",
        "The untuned target has 5.000.",
    ]


def test_one_seed_shows_nothing_and_says_what_the_examples_alone_would():
    losses = summary(("nll", 0.1, 4.0, 1), ("random", 0.1, 4.0, 1))
    found = headline(
        losses,
        differences(
            ("nll", 0.1, -0.2, None, None, None, -0.3, -0.1, 1),
            ("ifd", 0.1, -0.1, None, None, None, -0.2, -0.05, 1),
            ("length", 0.1, 0.0, None, None, None, -0.1, 0.1, 1),
            ("router", 0.1, 0.0, None, None, None, -0.1, 0.1, 1),
        ),
    )
    assert found == [
        "Not shown: whether a selection is better than random. One seed says nothing about another.",
        "Keeping 10% of the pool, nll and random share the lowest held-out loss (4.000 ± 0.020 nats per token); by "
        "95% intervals over the held-out examples alone, nll (-0.200) and ifd (-0.100) are below random, 2 others "
        "cannot be told from random.",
    ]


@pytest.mark.parametrize(
    ("chances", "answer"),
    [
        ((0.01, 0.02), "Yes: a selection is better than random at every ratio."),
        ((0.4, 0.02), "A selection is better than random keeping 30% of the pool only."),
        ((0.4, 0.03), "No selection is shown to be better than random."),  # 0.03 * 2 > 0.05
    ],
)
def test_the_answer_goes_by_ratio(chances, answer):
    losses = summary(("nll", 0.1, 4.0, 2), ("nll", 0.3, 4.0, 2))
    rows = [("nll", ratio, -0.2, -0.3, -0.1, p, None, None, 2) for ratio, p in zip((0.1, 0.3), chances, strict=True)]
    found = headline(losses, differences(*rows))
    assert found[0] == answer
    assert [sentence[:11] for sentence in found[1:]] == ["Keeping 10%", "Keeping 30%"]
    if answer.startswith("No"):
        assert found[1].endswith("over 2 paired seeds, no method can be told from random.")


def test_without_random_nothing_is_claimed():
    found = headline(summary(("nll", 0.1, 4.0, 1)), differences())
    assert found == [
        "Nothing was selected at random, so nothing here is shown to be better than that.",
        "Keeping 10% of the pool, nll has the lowest held-out loss (4.000 ± 0.020 nats per token).",
    ]
