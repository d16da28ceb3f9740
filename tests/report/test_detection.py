import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from moesift.data.corruption import corrupt
from moesift.report.detection import ALL, ALL_PAIRS, SAME_STRATUM, area, aurocs, length_bins


def scored(clean, corrupted, **strata):
    return pl.DataFrame(
        {
            "score": np.r_[clean, corrupted],
            "corrupted": [False] * len(clean) + [True] * len(corrupted),
            **strata,
        }
    )


def by_pairs(frame, strata):
    """Count the pairs of the same stratum that are in order, ties as half."""
    rows = frame.to_dicts()
    pairs = [
        (one["score"] > other["score"]) + (one["score"] == other["score"]) / 2
        for one in rows
        for other in rows
        if not one["corrupted"] and other["corrupted"] and all(one[name] == other[name] for name in strata)
    ]
    return np.mean(pairs)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("strata", [[], ["source"], ["source", "bin"]])
def test_the_area_is_the_share_of_pairs_in_order(ties, strata):
    rng = np.random.default_rng(0)
    values = rng.normal(size=90) + 0.5 * (np.arange(90) < 60)
    values = values.round() if ties else values
    frame = scored(values[:60], values[60:], source=rng.choice(["a", "b", "c"], 90), bin=rng.integers(4, size=90))
    found, *_ = area(frame, strata)
    assert found == pytest.approx(by_pairs(frame, strata))
    if not strata:
        assert found == pytest.approx(roc_auc_score(~frame["corrupted"].to_numpy(), frame["score"].to_numpy()))


def test_the_interval_has_the_width_of_the_bootstrap():
    rng = np.random.default_rng(0)
    clean, corrupted = rng.normal(0.7, 1, 150), rng.normal(0, 1, 100)
    _, low, high = area(scored(clean, corrupted), [])
    resampled = [area(scored(rng.choice(clean, 150), rng.choice(corrupted, 100)), [])[0] for _ in range(1000)]
    assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=0.015)


def test_without_a_pair_there_is_no_area():
    assert area(scored([1.0], []), []) == (None, None, None)
    assert area(scored([1.0], [0.0], source=["a", "b"]), ["source"]) == (None, None, None)


def test_equal_lengths_share_a_bin_and_no_bin_is_empty():
    assert length_bins(pl.Series([5, 1, 2, 3, 4, 6, 7, 8, 9, 10])).to_list() == [2, 0, 0, 1, 1, 2, 3, 3, 4, 4]
    assert length_bins(pl.Series([1000, 1, 1, 1, 1])).to_list() == [1, 0, 0, 0, 0]
    assert length_bins(pl.Series([3, 3])).to_list() == [0, 0]


def example_pool(rows=240):
    """Answers of one word, which cannot be shuffled, and of several."""
    answers = ["yes" if n % 3 == 0 else f"the answer is {n} of {rows}" for n in range(rows)]
    turns = [[{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": a}] for n, a in enumerate(answers)]
    pool = pl.DataFrame({"id": [f"{n:03}" for n in range(rows)], "source": ["a", "b"] * (rows // 2), "messages": turns})
    pool = pool.with_columns(choices=pl.lit(None, pl.List(pl.String)))
    return corrupt(pool, 0.3, ["shuffled_words", "swapped_across"], seed=0)


def test_a_kind_is_compared_only_with_what_it_could_have_been_made_of():
    pool = example_pool()
    words = pool["messages"].list.last().struct.field("content").str.split(" ").list.len()
    lengths = pool.select("id", n_tokens=words)
    # One word has the highest score; against all clean examples that would look like finding shuffled words.
    scores = {("words", 3): pool.select("id", score=-words.cast(pl.Float64))}
    found = {row["kind"]: row for row in aurocs(scores, pool, lengths).filter(within=ALL_PAIRS).iter_rows(named=True)}
    clean = words.filter(pool["corruption"] == "clean")
    assert found["shuffled_words"]["auroc"] == 0.5
    assert found["shuffled_words"]["n_clean"] == (clean > 1).sum() < len(clean)
    assert found["swapped_across"]["n_clean"] == len(clean)
    assert (found[ALL]["n_clean"], found[ALL]["n_corrupted"]) == (168, 72)
    assert (found[ALL]["method"], found[ALL]["seed"]) == ("words", 3)


def test_an_example_without_a_score_is_below_all_that_have_one():
    pool = example_pool()
    rng = np.random.default_rng(0)
    values = pl.Series(rng.normal(size=240).round(1))
    missing = pl.Series(rng.random(240) < 0.2)
    lengths = pool.select("id", n_tokens=pl.int_range(240) % 7)
    scores = pool.select("id", score=pl.when(~missing).then(values)).sort("score")  # the order does not matter
    found = aurocs({("m", 0): scores}, pool, lengths)
    frame = pool.select(
        score=pl.when(missing).then(-99.0).otherwise(values), corrupted=pl.col("corruption") != "clean", source="source"
    ).with_columns(length_bins(lengths["n_tokens"]).alias("bin"))
    rows = {row["within"]: row for row in found.filter(kind=ALL).iter_rows(named=True)}
    assert rows[ALL_PAIRS]["auroc"] == pytest.approx(by_pairs(frame, []))
    assert rows[SAME_STRATUM]["auroc"] == pytest.approx(by_pairs(frame, ["source", "bin"]))
    precision = average_precision_score(frame["corrupted"].to_numpy(), -frame["score"].to_numpy())
    assert rows[ALL_PAIRS]["average_precision"] == pytest.approx(precision)


def test_a_clean_pool_has_no_areas():
    pool = example_pool().with_columns(corruption=pl.lit("clean"))
    assert aurocs({("m", 0): pool.select("id", score=1.0)}, pool, pool.select("id", n_tokens=1)).is_empty()
