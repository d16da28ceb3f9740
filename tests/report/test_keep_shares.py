import numpy as np
import polars as pl
import pytest
from moesift.report.keep_shares import by_layer


def test_the_quantiles_are_those_of_the_sigmoid():
    odds = np.random.default_rng(0).normal(0, 2, (201, 2))
    found = by_layer(pl.Series([None, *odds.tolist()]))
    shares = 1 / (1 + np.exp(-odds))
    assert found["layer"].to_list() == [0, 1]
    for name, level in (("low", 0.1), ("median", 0.5), ("high", 0.9)):
        # Linear between two neighbours before the sigmoid instead of after it.
        assert found[name].to_list() == pytest.approx(np.quantile(shares, level, axis=0).tolist(), abs=1e-3)


def test_log_odds_of_0_keep_half():
    assert by_layer(pl.Series([[0.0]])).rows() == [(0, 0.5, 0.5, 0.5)]


def test_a_method_without_routers_has_no_layers():
    assert by_layer(pl.Series([None, None], dtype=pl.List(pl.Float64))).is_empty()
