import polars as pl
import pytest

from moesift.errors import UserError
from moesift.study.arms import chosen

POOL = pl.DataFrame(
    {
        "id": list("abcdefghij"),
        "source": ["s"] * 6 + ["t"] * 3 + ["u"],
        "corruption": ["clean", "truncated"] * 4 + ["clean", "clean"],
    }
)
ROUTER = {"a": 5.0, "b": 1.0, "c": 5.0, "d": 2.0, "e": None, "f": 1.0, "g": 4.0, "h": 3.0, "i": 2.5, "j": 3.5}
NLL = {"a": 9.0, "b": 1.0, "c": 4.0, "d": 6.0, "e": None, "f": 2.0, "g": 5.0, "h": 8.0, "i": 3.0, "j": 30.0}


def frame(scores):
    return pl.DataFrame(list(scores.items()), schema={"id": pl.String, "score": pl.Float64}, orient="row")


SCORES = {"router": frame(ROUTER), "nll": frame(NLL)}


def ids(arm, ratio, seed=0, scores=SCORES, pool=POOL, rejecting=("router", 0.5)):
    return chosen(arm, scores, pool, ratio, seed, rejecting)


@pytest.mark.parametrize("order", [1, -1])
def test_a_method_keeps_its_best_and_ties_go_by_id(order):
    scores = {name: scored[::order] for name, scored in SCORES.items()}
    assert ids("router", 0.3, scores=scores) == ["a", "c", "g"]
    assert ids("router", 0.1, scores=scores) == ["a"]
    assert ids("nll", 0.2, scores=scores) == ["j", "a"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_bottom_is_the_worst_of_the_router_and_never_what_has_no_score(order):
    scores = {name: scored[::order] for name, scored in SCORES.items()}
    assert ids("bottom", 0.1, scores=scores) == ["b"]
    assert ids("bottom", 0.4, scores=scores) == ["b", "f", "d", "i"]


def test_the_middle_is_nearest_to_the_median_loss():
    # The median of the nine losses is 5; c and d are both 1 from it.
    assert ids("mid_nll", 0.1) == ["g"]
    assert ids("mid_nll", 0.3) == ["g", "c", "d"]
    assert ids("mid_nll", 0.5) == ["g", "c", "d", "i", "f"]  # f and h are both 3 from it


@pytest.mark.parametrize(("ratio", "count"), [(0.04, 1), (0.1, 1), (0.16, 2), (0.9, 9)])
def test_a_ratio_is_of_the_whole_pool(ratio, count):
    assert [len(ids(arm, ratio)) for arm in ("router", "bottom", "mid_nll", "random", "balanced")] == [count] * 5


def test_random_draws_each_once_and_by_its_seed():
    draws = [ids("random", 0.5, seed) for seed in range(20)]
    assert draws == [ids("random", 0.5, seed) for seed in range(20)]
    assert all(len(set(draw)) == 5 for draw in draws)
    assert len({tuple(draw) for draw in draws}) > 15
    assert set().union(*draws) == set(POOL["id"])


def test_balanced_has_equally_many_of_each_source_as_far_as_they_go():
    def sources(ratio, seed):
        drawn = ids("balanced", ratio, seed)
        assert len(set(drawn)) == len(drawn)
        return dict(POOL.filter(pl.col("id").is_in(drawn))["source"].value_counts().iter_rows())

    for seed in range(5):
        assert sources(0.3, seed) == {"s": 1, "t": 1, "u": 1}
        assert sources(0.5, seed) == {"s": 2, "t": 2, "u": 1}
        assert sources(0.8, seed) == {"s": 4, "t": 3, "u": 1}
    assert len({tuple(ids("balanced", 0.3, seed)) for seed in range(20)}) > 5


def test_a_filter_draws_of_what_the_lowest_of_each_source_leave():
    # Of the six of s three go: e, which has no score, and b and f, the lowest; of the three of t one, i; of u none.
    draws = [ids("filtered", 0.3, seed) for seed in range(30)]
    assert all(len(set(draw)) == 3 for draw in draws)
    assert set().union(*draws) == set("acdghj")
    assert len({tuple(draw) for draw in draws}) > 15
    with pytest.raises(UserError, match=r"filtered has scores of 6 examples, and 7 are to be kept"):
        ids("filtered", 0.7)


def test_an_oracle_draws_clean_examples_and_takes_what_there_is():
    clean = {"a", "c", "e", "g", "i", "j"}
    assert all(len(ids("oracle", 0.3, seed)) == 3 for seed in range(10))
    assert set().union(*(ids("oracle", 0.3, seed) for seed in range(20))) == clean
    assert sorted(ids("oracle", 0.6)) == sorted(ids("oracle", 0.9)) == sorted(clean)


def test_full_is_the_pool():
    assert ids("full", 1.0) == list("abcdefghij")


def test_too_few_scores_are_refused():
    with pytest.raises(UserError, match=r"router has scores of 9 examples, and 10 are to be kept"):
        ids("router", 1.0)


@pytest.mark.parametrize(
    ("arm", "method"),
    [("best", "best"), ("ifd", "ifd"), ("bottom", "router"), ("mid_nll", "nll"), ("filtered", "router")],
)
def test_an_arm_without_its_scores_is_refused(arm, method):
    with pytest.raises(
        UserError, match=rf"study\.arms: {arm} needs the scores of {method}, but there are those of length"
    ):
        ids(arm, 0.3, scores={"length": SCORES["router"]})
