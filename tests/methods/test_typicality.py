import numpy as np
import pytest
from scipy.stats import zscore

from moesift.errors import UserError
from moesift.methods import METHODS, N_TOKENS, Column, parameters_of
from moesift.methods.typicality import LEAST, typical_inputs, typical_pmi


def made_up(count, seed=0):
    """Losses, lengths and last tokens of `count` examples of one kind."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(20, 60, count)
    alone = tokens * rng.normal(3.0, 0.2, count)
    nats = alone - tokens * rng.normal(1.0, 0.1, count)
    return nats, alone, rng.normal(0.5, 0.1, count), tokens


def test_without_outliers_the_distance_is_that_of_the_plain_covariance():
    """By hand on a Gaussian cloud, whose robust covariance is the plain one."""
    cloud = np.random.default_rng(0).normal(size=(5000, 4))
    tokens = np.exp(3 + 0.1 * cloud[:, 2])
    nats, alone = tokens * np.exp(0.1 * cloud[:, 0]), tokens * np.exp(1 + 0.1 * cloud[:, 1])
    found = typical_pmi(nats, alone, 2 + 0.1 * cloud[:, 3], tokens, np.array(["a"] * 5000))
    likely = alone / tokens - 2 * nats / tokens
    distance = np.sqrt((cloud**2).sum(axis=1))
    expected = zscore(likely) - zscore(distance)
    assert np.abs(found - expected).mean() < 0.1
    assert np.corrcoef(found, expected)[0, 1] > 0.998


@pytest.mark.parametrize(
    ("corrupted", "what"),
    [
        ({"nats": 1.2, "alone": 1.4}, "too likely by itself, as a refusal is"),
        ({"end": 9.0}, "broken off"),
        ({"nats": 6.0, "alone": 6.0}, "unlikely"),
        ({"nats": 3.0, "alone": 3.0}, "not of its instruction"),
    ],
)
def test_what_is_unlike_its_source_comes_last(corrupted, what):
    nats, alone, end, tokens = made_up(200)
    for row in range(0, 200, 20):
        nats[row] = corrupted.get("nats", nats[row] / tokens[row]) * tokens[row]
        alone[row] = corrupted.get("alone", alone[row] / tokens[row]) * tokens[row]
        end[row] = corrupted.get("end", end[row])
    found = typical_pmi(nats, alone, end, tokens, np.array(["a"] * 200))
    assert len(set(np.argsort(found)[:20]) & set(range(0, 200, 20))) == 10, what


def test_each_source_is_judged_by_itself():
    """A second source of other lengths and losses changes nothing of the first."""
    one, other = made_up(100), made_up(80, seed=1)
    other = (other[0] * 9, other[1] * 9, other[2] + 5, other[3] * 3)
    sources = np.array(["a"] * 100 + ["b"] * 80)
    both = typical_pmi(*(np.concatenate(pair) for pair in zip(one, other, strict=True)), sources)
    assert both[:100] == pytest.approx(typical_pmi(*one, sources[:100]))
    assert both[100:] == pytest.approx(typical_pmi(*other, sources[100:]))


def test_small_sources_are_taken_together_and_with_all_where_they_are_too_few():
    given = made_up(120)
    whole = typical_pmi(*given, np.array(["a"] * 120))
    names = np.array(["a", "b", "c"] * 40)  # 40 each: one group of 120
    assert typical_pmi(*given, names) == pytest.approx(whole)
    names = np.array(["a"] * 100 + ["b"] * 20)
    found = typical_pmi(*given, names)
    assert found[100:] == pytest.approx(whole[100:])
    assert found[:100] == pytest.approx(typical_pmi(*(column[:100] for column in given), names[:100]))


def test_what_was_not_measured_has_no_score_and_moves_no_other():
    given = [np.insert(column.astype(float), 0, np.nan) for column in made_up(100)[:3]]
    tokens = np.insert(made_up(100)[3], 0, 0)
    found = typical_pmi(*given, tokens, np.array(["a"] * 101))
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx(typical_pmi(*made_up(100), np.array(["a"] * 100)))


def test_the_order_of_the_pool_changes_nothing():
    given = made_up(150)
    sources, order = np.array(["a", "b"] * 75), np.random.default_rng(3).permutation(150)
    found = typical_pmi(*given, sources)
    assert typical_pmi(*(column[order] for column in given), sources[order]) == pytest.approx(found[order])


def test_too_few_examples_say_so():
    with pytest.raises(UserError, match=rf"typical_pmi needs {LEAST} examples .* there are 49; take likelihood_pmi"):
        typical_pmi(*made_up(49), np.array(["a"] * 49))


def test_with_a_hidden_the_distance_is_that_of_losses_and_components():
    """By hand on a Gaussian cloud, of whose hidden four directions vary and the rest are nothing."""
    cloud = np.random.default_rng(0).normal(size=(5000, 8))
    tokens = np.exp(3 + 0.1 * cloud[:, 2])
    nats, alone = tokens * np.exp(0.1 * cloud[:, 0]), tokens * np.exp(1 + 0.1 * cloud[:, 1])
    hidden = np.hstack([5 + cloud[:, 4:] * [4.0, 3.0, 2.0, 1.0], np.zeros((5000, 12))])
    found = typical_inputs(nats, alone, 2 + 0.1 * cloud[:, 3], hidden, tokens, np.array(["a"] * 5000))
    likely = alone / tokens - 2 * nats / tokens
    expected = zscore(likely) - zscore(np.sqrt((cloud**2).sum(axis=1)))
    assert np.corrcoef(found, expected)[0, 1] > 0.998


def test_what_a_router_reads_tells_what_the_losses_do_not():
    nats, alone, end, tokens = made_up(200)
    hidden = np.random.default_rng(2).normal(size=(200, 16))
    corrupted = range(0, 200, 20)
    hidden[corrupted] += 6.0
    sources = np.array(["a"] * 200)
    seen, unseen = (
        len(set(np.argsort(found)[:20]) & set(corrupted))
        for found in (
            typical_inputs(nats, alone, end, hidden, tokens, sources),
            typical_pmi(nats, alone, end, tokens, sources),
        )
    )
    assert (seen, unseen <= 3) == (10, True)


def test_what_is_read_is_of_the_selector():
    reads = METHODS["typical_inputs"].columns(parameters_of(METHODS["typical_inputs"], {}))
    names = ("nll", "nll_unconditional", "nll_end", "hidden")
    assert reads == {
        **{name: Column("likelihood", name, "selector") for name in names},
        **{"n_tokens": N_TOKENS, "source": Column("pool", "source", "selector")},
    }
