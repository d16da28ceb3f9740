import numpy as np
import polars as pl
import pytest

from moesift.errors import UserError
from moesift.select.ranking import (
    Spread,
    count_within,
    deduplicate,
    drop_lowest,
    drop_top,
    keep,
    mark_lowest,
    quotas,
    ranked,
    require,
    shuffled,
    without,
)

SCORES = pl.DataFrame(
    {
        "id": ["d", "b", "a", "c", "e"],
        "source": ["s", "t", "s", "s", "t"],
        "score": [1.0, 2.0, 2.0, None, 0.5],
        "reason": [None, None, None, "too long", None],
    }
)


def ids(ranking):
    return ranking.left["id"].to_list()


def reasons(ranking):
    return dict(ranking.dropped.select("id", "reason").iter_rows())


def pairs_of(*rows, measure="Jaccard"):
    frame = pl.DataFrame(rows, ["id", "other", "similarity"], orient="row")
    return frame.with_columns(measure=pl.lit(measure))


def test_best_first_ties_by_id_and_what_has_no_score_has_its_reason():
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0]):
        ranking = ranked(SCORES[order])
        assert ids(ranking) == ["a", "b", "d", "e"]
        assert reasons(ranking) == {"c": "too long"}


def test_the_best_are_kept_with_ranks_from_one_and_nothing_is_said_of_the_rest():
    kept, dropped = keep(ranked(SCORES), 3)
    assert kept.rows() == [("a", 1, 2.0), ("b", 2, 2.0), ("d", 3, 1.0)]
    assert dropped.rows() == [("c", None, "too long")]


@pytest.mark.parametrize(
    ("share", "left"),
    [(0.5, "abd"), (0.67, "ab"), (0.49, "abde")],  # of s 1, 2, 1, of which c without a score is one; of t 1, 1, 0
)
def test_a_filter_rejects_the_lowest_of_each_source(share, left):
    ranking = drop_lowest(mark_lowest(ranked(SCORES), {"s": 3, "t": 2}, share), share)
    assert ids(ranking) == list(left)
    rejected = dict.fromkeys(set("abde") - set(left), f"in the lowest {share} of its source")
    assert reasons(ranking) == {"c": "too long"} | rejected


def test_a_draw_is_the_same_whatever_order_the_examples_came_in():
    none = pl.lit(None, pl.String)
    many = ranked(SCORES.select("id", "source", score=pl.lit(1.0), reason=none))
    orders = {tuple(ids(shuffled(many, seed))) for seed in range(20)}
    assert len(orders) > 10
    assert len({order[0] for order in orders}) == 5
    assert ids(shuffled(many, 3)) == ids(shuffled(ranked(many.left[::-1].with_columns(reason=none)), 3))


def test_too_few_are_refused_with_the_reasons():
    with pytest.raises(UserError, match=r"5 examples are to be kept, but only 4 are left \(1 x too long\)"):
        keep(ranked(SCORES), 5)


def test_each_rule_is_counted_once_whatever_its_reasons_name():
    of = ["question 1 of quiz: one two", "question 2 of exam: three four"]
    reasons = pl.DataFrame({"id": ["a", "b"], "reason": [f"shares a run of words with {one}" for one in of]})
    ranking = deduplicate(without(ranked(SCORES), reasons), pairs_of(("d", "e", 0.7)))
    require(ranking, 1)
    with pytest.raises(UserError, match=r"2 examples are to be kept, but only 1 are left") as caught:
        require(ranking, 2)
    assert set(str(caught.value).split("(")[1].strip(")").split("; ")) == {
        "2 x shares a run of words with …",
        "1 x near-duplicate of …",
        "1 x too long",
    }


def test_contaminated_examples_are_dropped_with_the_first_reason():
    found = pl.DataFrame({"id": ["b", "b", "x"], "reason": ["question 1", "question 2", "question 3"]})
    ranking = without(ranked(SCORES), found)
    assert ids(ranking) == ["a", "d", "e"]
    assert reasons(ranking) == {"c": "too long", "b": "question 1"}


def test_a_band_is_cut_from_the_top():
    ranking = drop_top(ranked(SCORES), 0.5)
    assert ids(ranking) == ["d", "e"]
    assert reasons(ranking)["a"] == "in the top 0.5 of the scores"
    assert ids(drop_top(ranked(SCORES), 0.24)) == ["a", "b", "d", "e"]  # less than one of four
    hundred = SCORES.head(1).drop("id").join(pl.DataFrame({"id": [f"{n}" for n in range(100)]}), how="cross")
    assert len(ids(drop_top(ranked(hundred), 0.29))) == 71  # 0.29 * 100 < 29 in floating point


def test_of_near_duplicates_the_best_is_kept():
    """d is near b and e near d: d goes because b stays, and e stays because d goes."""
    pairs = pairs_of(("d", "b", 0.71234), ("d", "e", 0.9))
    ranking = deduplicate(ranked(SCORES), pairs)
    assert ids(ranking) == ["a", "b", "e"]
    assert reasons(ranking)["d"] == "near-duplicate of b: Jaccard 0.7123"
    both = pl.concat([pairs, pairs_of(("b", "d", 0.99), ("a", "e", 0.97), measure="cosine")])
    ranking = deduplicate(ranked(SCORES), both)
    assert ids(ranking) == ["a", "b"]
    assert reasons(ranking) == {
        "c": "too long",
        "d": "near-duplicate of b: Jaccard 0.7123",
        "e": "near-duplicate of a: cosine 0.97",
    }


def test_of_an_instruction_the_best_are_kept_that_differ():
    """x asks for a, b and d, y for e: what is near to an answer that goes does not go for its sake."""
    asked = pl.DataFrame({"id": ["a", "b", "c", "d", "e"], "instruction": ["x", "x", "x", "x", "y"]})
    ranking = deduplicate(ranked(SCORES), None, asked, 1)
    assert ids(ranking) == ["a", "e"]
    extra = dict.fromkeys(["b", "d"], "beyond the best 1 of its instruction")
    assert reasons(ranking) == {"c": "too long"} | extra
    assert ids(deduplicate(ranked(SCORES), None, asked, 2)) == ["a", "b", "e"]
    assert ids(deduplicate(ranked(SCORES), None, asked, 3)) == ["a", "b", "d", "e"]
    ranking = deduplicate(ranked(SCORES), pairs_of(("b", "a", 0.9), ("d", "e", 0.9)), asked, 2)
    assert ids(ranking) == ["a", "d"]
    ranking = deduplicate(ranked(SCORES), pairs_of(("b", "e", 0.9)), asked, 1)
    assert ids(ranking) == ["a", "e"]
    assert reasons(ranking) == {"c": "too long"} | extra


def test_any_ranking_is_thinned_as_a_plain_walk_does():
    """30 rankings of 40 examples, with pairs and instructions at random, against sets and a counter."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        size, most = 40, int(rng.integers(1, 4))
        asked = {n: int(rng.integers(8)) for n in range(size)}
        pairs = {tuple(sorted(map(int, rng.choice(size, 2, replace=False)))) for _ in range(30)}
        frame = pl.DataFrame({"id": range(size), "source": "s", "score": rng.random(size).round(1)})
        ranking = ranked(frame.with_columns(reason=pl.lit(None, pl.String)))
        kept, counts = [], dict.fromkeys(asked.values(), 0)
        for one in ids(ranking):
            if not any(tuple(sorted((one, other))) in pairs for other in kept) and counts[asked[one]] < most:
                kept.append(one)
                counts[asked[one]] += 1
        instructions = pl.DataFrame({"id": list(asked), "instruction": list(asked.values())})
        assert ids(deduplicate(ranking, pairs_of(*((*pair, 0.9) for pair in pairs)), instructions, most)) == kept


def test_quotas_take_the_best_of_each_source():
    kept, dropped = keep(ranked(SCORES), 2, {"s": 0, "t": 2})
    assert kept.rows() == [("b", 1, 2.0), ("e", 2, 0.5)]
    assert dict(dropped.select("id", "reason").iter_rows()) == {
        "c": "too long",
        "a": "the quota of s, 0, is full",
        "d": "the quota of s, 0, is full",
    }
    kept, dropped = keep(ranked(SCORES), 2, {"s": 1, "t": 1})
    assert kept["id"].to_list() == ["a", "b"]
    assert dropped["id"].to_list() == ["c"]  # d is below the last that is kept
    assert keep(ranked(SCORES), 2, {"t": 2}).dropped["id"].to_list() == ["c", "a", "d"]  # s has no share at all


def test_diversity_chooses_among_the_candidates():
    asked = []

    def last(examples, number):
        asked.append((examples.to_list(), number))
        return list(range(len(examples) - number, len(examples)))

    kept, dropped = keep(ranked(SCORES), 1, spread=Spread(3, last))
    assert asked == [(["a", "b", "d"], 1)]
    assert kept.rows() == [("d", 1, 1.0)]
    assert dropped["reason"].to_list() == ["too long", *["too near to what is kept"] * 2]
    asked.clear()
    kept, _ = keep(ranked(SCORES), 2, {"s": 1, "t": 1}, spread=Spread(2, last))
    assert asked == [(["a", "d"], 1), (["b", "e"], 1)]
    assert kept["id"].to_list() == ["d", "e"]


@pytest.mark.parametrize(
    ("quota", "count", "expected"),
    [
        ("proportional", 5, {"a": 3, "b": 2, "c": 0}),  # 3, 1.5 and 0.5: of equal remainders the first by name
        ("proportional", 8, {"a": 5, "b": 2, "c": 1}),  # 4.8, 2.4 and 0.8
        ("equal", 3, {"a": 1, "b": 1, "c": 1}),
        ("equal", 9, {"a": 4, "b": 4, "c": 1}),  # c has one left, and the others share what it lacks
        ({"a": 0.5, "c": 0.5, "b": 0.0}, 4, {"a": 3, "c": 1}),
    ],
)
def test_quotas(quota, count, expected):
    left, pool = {"a": 6, "b": 4, "c": 1}, {"a": 6, "b": 3, "c": 1}
    assert quotas(left, pool, count, quota) == expected


def test_a_source_with_nothing_left_gives_its_share_away():
    assert quotas({"a": 3}, {"a": 5, "b": 5}, 3, "equal") == {"b": 0, "a": 3}


def test_quotas_that_cannot_be_met_are_refused():
    with pytest.raises(UserError, match=r"select.quota: 4 examples are to be kept, but a have fewer left"):
        quotas({"a": 3, "b": 9}, {"a": 3, "b": 9}, 4, {"a": 1.0})


def test_a_budget_in_tokens_keeps_the_best_that_it_holds():
    tokens = pl.DataFrame({"id": ["a", "b", "c", "d", "e"], "n_tokens": [10, 20, 30, 5, 40]})
    ranking = ranked(SCORES)  # a, b, d, e: 10, 30, 35, 75 tokens together
    for budget, count in ((29, 1), (30, 2), (74, 3), (75, 4), (0.3, 2), (0.7, 3)):  # of 105 in all
        assert count_within(ranking, tokens, budget) == count
    hundred = pl.DataFrame({"id": [f"{n:02}" for n in range(100)], "score": 1.0, "source": "s"})
    whole = ranked(hundred.with_columns(reason=pl.lit(None, pl.String)))
    assert count_within(whole, hundred.select("id", n_tokens=1), 0.29) == 29  # as a float 0.29 * 100 is less
    with pytest.raises(UserError, match=r"76 response tokens are to be kept, of 75 that are left$"):
        count_within(ranking, tokens, 76)
    with pytest.raises(UserError, match=r"5 response tokens .* the best example alone has 10"):
        count_within(ranking, tokens, 5)
