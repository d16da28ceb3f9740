import numpy as np
import pytest

from moesift.errors import UserError
from moesift.fields import ConfigError
from moesift.methods import (
    METHODS,
    N_TOKENS,
    Column,
    baselines,
    declaration,
    likelihood,
    method,
    parameters_of,
    routers,
)
from moesift.methods.declaration import Aggregate


def test_the_quality_score_is_the_mean_over_the_chosen_layers():
    log_odds = np.array([[1.5, 3.5], [4.0, 0.0]])  # (N=2, L=2)
    assert routers.router(log_odds, -log_odds).tolist() == [2.5, 2.0]
    assert routers.router(log_odds, -log_odds, layers=[1]).tolist() == [3.5, 0.0]
    assert routers.router_untrained(log_odds, -log_odds, tokens="all").tolist() == [-2.5, -2.0]
    with pytest.raises(UserError, match="layers: 2 is beyond the 2 routed layers, numbered from 0"):
        routers.router(log_odds, log_odds, layers=[2])


def test_the_gain_of_the_instruction_is_what_it_takes_off_the_loss():
    gain = likelihood.instruction_gain(np.array([3.0, 5.0, 6.0]), np.array([12.0, 5.0, 4.0]))
    assert gain.tolist() == [0.75, 0.0, -0.5]


def test_likelihood_and_information_are_of_the_same_tokens():
    given, alone = np.log([0.5, 0.25]), np.log([0.125, 0.25])  # of two tokens
    score = likelihood.likelihood_pmi(np.array([-given.sum()]), np.array([-alone.sum()]), np.array([2]))
    assert score == pytest.approx([given.mean() + (given - alone).mean()])
    assert score == pytest.approx([np.log(0.125) / 2 + np.log(4) / 2])


def test_ifd_is_the_loss_with_the_instruction_over_the_loss_without():
    """s(A|Q) / s(A) of the paper, worked out by hand from the probabilities of each token."""
    given = -np.log(np.array([0.5, 0.25, 0.5]))  # after the instruction
    alone = -np.log(np.array([0.25, 0.25, 0.25]))  # without it
    values, refused = likelihood.ifd(np.array([given.sum(), 3.0]), np.array([alone.sum(), 3.0]))
    assert values == pytest.approx([2 / 3, 1.0])
    assert refused[likelihood.NO_HELP].tolist() == [False, True]


def test_random_is_uniform_and_set_by_its_seed():
    tokens = np.ones(10_000)
    scores = baselines.random(tokens, seed=1).tolist()
    assert scores == baselines.random(tokens, seed=1).tolist() != baselines.random(tokens, seed=2).tolist()
    assert abs(sum(scores) / 10_000 - 0.5) < 0.02
    assert 0 <= min(scores) <= max(scores) < 1


def test_balanced_takes_as_many_of_each_source_until_it_has_no_more():
    source = np.array(["a"] * 50 + ["b"] * 10 + ["c"] * 40)
    tokens = np.ones(100, dtype=int)
    order = np.argsort(-baselines.balanced(source, tokens, seed=0))
    for count, expected in ((9, (3, 3, 3)), (30, (10, 10, 10)), (50, (20, 10, 20))):
        kept = source[order[:count]].tolist()
        assert (kept.count("a"), kept.count("b"), kept.count("c")) == expected
    assert not np.array_equal(order, np.argsort(-baselines.balanced(source, tokens, seed=1)))
    tokens[:25] = 0  # of a half have no response
    scores = baselines.balanced(source, tokens, seed=0)
    assert np.isnan(scores[:25]).all()
    kept = source[np.argsort(-np.nan_to_num(scores, nan=-np.inf))[:30]].tolist()
    assert (kept.count("a"), kept.count("b"), kept.count("c")) == (10, 10, 10)


def test_the_oracle_draws_what_is_clean_before_all_else():
    corruption = np.array(["clean", "truncated", "clean", "empty"])
    scores = baselines.oracle(corruption, seed=0)
    assert scores[[0, 2]].min() > scores[[1, 3]].max()
    assert scores[0] != scores[2]


def test_bottom_is_another_method_turned_round():
    found = METHODS["bottom"].compute(of="nll", nll=np.array([6.0, 2.0]), n_tokens=np.array([3, 4]))
    assert found.tolist() == [2.0, 0.5]
    values, refused = METHODS["bottom"].compute(of="ifd", nll=np.array([3.0]), nll_unconditional=np.array([3.0]))
    assert (values.tolist(), refused[likelihood.NO_HELP].tolist()) == ([-1.0], [True])
    reads = METHODS["bottom"].columns(parameters_of(METHODS["bottom"], {"of": "ifd"}))
    assert reads == {"nll": Column("likelihood", "nll"), "nll_unconditional": Column("likelihood", "nll_unconditional")}


def test_a_declaration_names_what_the_function_takes():
    with pytest.raises(TypeError, match=r"wrong takes \['nll'\], but should take \['n_tokens'\]"):

        @method(reads={"n_tokens": N_TOKENS}, caption="", source="")
        def wrong(nll):
            return nll

    with pytest.raises(ValueError, match=r"likelihood is no pass with a column nats \(its columns: nll, nll_un"):
        Column("likelihood", "nats")
    with pytest.raises(ValueError, match="traget is no state of a model"):
        Column("likelihood", "nll", "traget")
    assert Column("gradients", "adam", "lora-12").state == "lora-12"
    with pytest.raises(TypeError, match="wrong: the parameter power needs a type and a default"):

        @method(reads={"n_tokens": N_TOKENS}, caption="", source="")
        def wrong(n_tokens, *, power=1.0):
            return n_tokens**power

    with pytest.raises(TypeError, match="wrong: the default of power is not of its type: Input should be a valid num"):

        @method(reads={"n_tokens": N_TOKENS}, caption="", source="")
        def wrong(n_tokens, *, power: float = "much"):
            return n_tokens

    with pytest.raises(TypeError, match="wrong: every targeted method has a parameter aggregate; give its default to"):

        @method(targeted=True, reads={"n_tokens": N_TOKENS}, caption="", source="")
        def wrong(pool, queries, *, aggregate: Aggregate = "max"):
            yield from ()

    assert "wrong" not in METHODS


def test_a_parameter_may_be_true_or_false(monkeypatch):
    monkeypatch.setattr(declaration, "METHODS", {})

    @method(reads={"n_tokens": N_TOKENS}, caption="", source="")
    def shorter(n_tokens, *, first: bool = True, power: int = 1):
        return n_tokens

    declared = declaration.METHODS["shorter"]
    assert parameters_of(declared, {}).first is True
    assert parameters_of(declared, {"first": False}).first is False
    with pytest.raises(ConfigError, match=r"methods.shorter: power: is true or false, which it does not take"):
        parameters_of(declared, {"power": True})


def test_a_name_is_given_to_one_method_only():
    before = METHODS["nll"]
    with pytest.raises(TypeError, match=r"test_methods: there is a method nll in moesift\.methods\.likelihood"):

        @method(reads={"n_tokens": N_TOKENS}, caption="", source="")
        def nll(n_tokens):
            return n_tokens

    assert METHODS["nll"] is before


@pytest.mark.parametrize("declared", METHODS.values(), ids=list(METHODS))
def test_every_method_says_what_it_is(declared):
    assert declared.caption
    assert declared.source
    assert (declared.compute.__doc__ or "").startswith("Return")
