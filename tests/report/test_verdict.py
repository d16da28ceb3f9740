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
    """Rows of method, ratio, difference, the interval over seeds, that over questions and the number of seeds."""
    schema = ["method", "ratio", "difference", "low", "high", "low_questions", "high_questions", "seeds"]
    types = {**dict.fromkeys(schema, pl.Float64), "method": pl.String, "seeds": pl.Int64}
    return judged(pl.DataFrame(rows, schema=types, orient="row").with_columns(outcome=pl.lit("heldout")))


def one(*interval):
    return pl.DataFrame({"outcome": ["heldout", "mmlu"], "low": [interval[0]] * 2, "high": [interval[1]] * 2})


@pytest.mark.parametrize(
    ("interval", "of_loss", "of_accuracy"),
    [
        ((-0.3, -0.1), "better", "worse"),
        ((0.1, 0.3), "worse", "better"),
        ((-0.1, 0.3), "undecided", "undecided"),
        ((0.0, 0.3), "undecided", "undecided"),
        ((None, None), None, None),
    ],
)
def test_a_difference_is_judged_by_its_interval_over_seeds(interval, of_loss, of_accuracy):
    frame = one(*interval).cast({"low": pl.Float64, "high": pl.Float64})
    assert judged(frame)["verdict"].to_list() == [of_loss, of_accuracy]


def test_several_seeds_say_who_is_below_random_by_how_much_and_who_is_not():
    losses = summary(("nll", 0.1, 4.0, 3), ("random", 0.1, 4.2, 3), ("base", None, 5.0, 1))
    found = headline(
        losses,
        differences(
            ("router", 0.1, 0.1, 0.05, 0.15, -1.0, 1.0, 3),
            ("nll", 0.1, -0.2, -0.3, -0.1, -1.0, 1.0, 3),
            ("ifd", 0.1, -0.1, -0.3, 0.1, -0.3, -0.1, 3),
        ),
    )
    assert found == [
        "Yes: a selection is better than random.",
        "Keeping 10% of the pool, nll has the lowest held-out loss (4.000 ± 0.020 nats per token); by 95% intervals "
        "over 3 paired seeds, nll (-0.200, interval -0.300 to -0.100) is below random, router (+0.100) is above "
        "random, one other cannot be told from random.",
        "The untuned target has 5.000.",
    ]


def test_one_seed_shows_nothing_and_says_what_the_examples_alone_would():
    losses = summary(("nll", 0.1, 4.0, 1), ("random", 0.1, 4.0, 1))
    found = headline(
        losses,
        differences(
            ("nll", 0.1, -0.2, None, None, -0.3, -0.1, 1),
            ("ifd", 0.1, -0.1, None, None, -0.2, -0.05, 1),
            ("length", 0.1, 0.0, None, None, -0.1, 0.1, 1),
            ("router", 0.1, 0.0, None, None, -0.1, 0.1, 1),
        ),
    )
    assert found == [
        "Not shown: whether a selection is better than random. One seed says nothing about another.",
        "Keeping 10% of the pool, nll and random share the lowest held-out loss (4.000 ± 0.020 nats per token); by "
        "95% intervals over the held-out examples alone, nll (-0.200) and ifd (-0.100) are below random, 2 others "
        "cannot be told from random.",
    ]


@pytest.mark.parametrize(
    ("highs", "answer"),
    [
        ((-0.1, -0.1), "Yes: a selection is better than random at every ratio."),
        ((0.1, -0.1), "A selection is better than random keeping 30% of the pool only."),
        ((0.1, 0.1), "No selection is shown to be better than random."),
    ],
)
def test_the_answer_goes_by_ratio(highs, answer):
    losses = summary(("nll", 0.1, 4.0, 2), ("nll", 0.3, 4.0, 2))
    rows = [("nll", ratio, -0.2, -0.3, high, None, None, 2) for ratio, high in zip((0.1, 0.3), highs, strict=True)]
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
