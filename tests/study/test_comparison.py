import numpy as np
import polars as pl
import pytest
from scipy.stats import ttest_1samp

from study.comparison import best_of, markdown, mean_by_seed, minus, over_seeds, read_tables, shown


def numbers(method, values):
    """One number a seed, seeds from 1."""
    return pl.DataFrame({"method": method, "seed": list(range(1, len(values) + 1)), "value": values})


def test_interval_over_seeds_is_students():
    values = [0.81, 0.79, 0.84, 0.80]
    (row,) = over_seeds(numbers("nll", values), ["method"]).rows(named=True)
    reference = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["method"], row["seeds"]) == ("nll", 4)
    assert [row["value"], row["low"], row["high"]] == pytest.approx([np.mean(values), *reference])


def test_one_seed_has_no_interval_and_none_has_no_number():
    table = over_seeds(pl.concat([numbers("a", [0.5, None]), numbers("b", [None, None])]), ["method"])
    assert table.rows() == [("a", 0.5, None, None, 1), ("b", None, None, None, 0)]


def test_a_mean_over_fewer_numbers_than_it_should_have_is_null():
    frame = pl.DataFrame({"seed": [1, 1, 2, 2, 3], "kind": ["x", "y"] * 2 + ["x"], "value": [0.2, 0.4, 0.2, None, 0.9]})
    assert mean_by_seed(frame, [], count=2).rows() == [(1, pytest.approx(0.3)), (2, None), (3, None)]


def test_differences_are_paired_by_seed():
    method, random = numbers("nll", [1.0, 2.0, 3.0]), numbers("random", [0.5, 1.0])
    difference = minus(method.sample(fraction=1, shuffle=True, seed=0), random, [])
    assert sorted(difference.select("seed", "value").rows()) == [(1, 0.5), (2, 1.0)]  # seed 3 has no counterpart


def test_best_method_of_each_kind_is_chosen_among_the_given():
    means = pl.DataFrame(
        {"method": ["a", "b", "c"] * 2, "kind": ["x"] * 3 + ["y"] * 3, "value": [0.6, 0.7, 0.9, 0.8, None, 0.9]}
    )
    assert dict(best_of(means, ["a", "b"], ["kind"]).rows()) == {"x": "b", "y": "a"}


def test_tables_of_experiments_are_joined_and_get_the_seed_that_the_untuned_target_lacks(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        table = pl.DataFrame({"method": ["base"], "seed": [None], "value": [1.0]}, schema_overrides={"seed": pl.Int64})
        table.write_parquet(tmp_path / name / "outcomes.parquet")
    table = read_tables({tmp_path / "a": {"seed": 6}, tmp_path / "b": {"seed": 7}}, "outcomes")
    assert table["seed"].to_list() == [6, 7]


def test_numbers_are_shown_with_their_interval_and_bold_where_a_difference_is_significant():
    frame = pl.DataFrame(
        {"value": [0.5, -0.1, 0.2, None], "low": [None, -0.2, -0.1, None], "high": [None, -0.05, 0.5, None]}
    )
    assert shown(frame, 2).to_list() == ["0.50", "-0.10 [-0.20, -0.05]", "0.20 [-0.10, 0.50]", "–"]
    assert shown(frame, 1, difference=True).to_list()[1] == "**-0.1 [-0.2, -0.1]**"


def test_markdown_shows_every_row_and_column():
    frame = pl.DataFrame({f"column_{place}": ["a long cell " * 5] * 40 for place in range(20)})
    lines = markdown(frame).splitlines()
    assert len(lines) == 42
    assert all(line.count("|") == 21 for line in lines)
