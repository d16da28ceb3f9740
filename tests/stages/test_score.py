import json

import numpy as np
import polars as pl
import pytest

from moesift.errors import UserError
from moesift.methods import N_TOKENS, Column, declaration, method
from moesift.methods.external import NOT_GIVEN
from moesift.methods.likelihood import NO_HELP
from moesift.methods.reward import NO_TOKENS
from moesift.methods.routers import TRAINED_ON
from moesift.select.table import NO_RESPONSE, NOT_FINITE
from moesift.stages import score

IDS = ["a", "b", "c"]  # the last has no response token
TOKENS = [2, 4, 0]


def scored(folder, method, ids=IDS, tokens=TOKENS, parameters=None, seed=0, sources=None, **columns):
    """Write passes with the given columns, by `pass/state`, and score them: score and reason by id."""
    frames = {
        "pool/selector": {"source": sources or ["s"] * len(ids)},
        "tokens/selector": {"n_tokens": tokens, "refused": pl.Series([None] * len(ids), dtype=pl.String)},
        **columns,
    }
    files = {}
    for name, values in frames.items():
        files[name] = str(folder / f"{name.replace('/', '-')}.parquet")
        pl.DataFrame({"id": ids, **values}, strict=False).write_parquet(files[name])
    out = folder / "scores.parquet"
    score.main(method=method, parameters=json.dumps(parameters or {}), files=json.dumps(files), out=out, seed=seed)
    return {row["id"]: (row["score"], row["reason"]) for row in pl.read_parquet(out).iter_rows(named=True)}


@pytest.fixture
def declared(monkeypatch):
    """Methods of the test's own."""
    monkeypatch.setattr(declaration, "METHODS", {})
    monkeypatch.setattr(score, "METHODS", declaration.METHODS)

    @method(reads={"messages": Column("pool", "messages")}, caption="", source="")
    def turns(messages):
        return np.array([len(one) if one[-1]["content"] == "yes" else np.nan for one in messages])

    @method(reads={"n_tokens": N_TOKENS}, caption="", source="")
    def short(n_tokens):
        return n_tokens[1:]


@pytest.mark.parametrize("lengths", [(1, 3, 2), (2, 2, 2)])
def test_a_method_may_read_the_text_of_conversations(tmp_path, declared, lengths):
    said = ["yes", "no", "yes"]
    turns = [[{"role": "user", "content": "?"}] * (n - 1) for n in lengths]
    messages = [[*first, {"role": "assistant", "content": last}] for first, last in zip(turns, said, strict=True)]
    pool = {"source": ["s"] * 3, "messages": messages}
    found = scored(tmp_path, "turns", tokens=[1, 1, 1], **{"pool/selector": pool})
    assert found == {"a": (lengths[0], None), "b": (None, NOT_FINITE), "c": (lengths[2], None)}


def test_a_method_that_returns_too_few_numbers_is_named(tmp_path, declared):
    with pytest.raises(TypeError, match=r"short returns \(2,\) instead of one number an example, \(3,\)"):
        scored(tmp_path, "short")


def test_router_by_layers(tmp_path):
    log_odds = pl.Series([[1.0, 3.0], [5.0, 1.0], None], dtype=pl.List(pl.Float64))
    columns = {"routing/warmed": {"log_odds": log_odds, "log_odds_all": log_odds}}
    found = scored(tmp_path, "router", **columns)
    assert found == {"b": (3.0, None), "a": (2.0, None), "c": (None, NO_RESPONSE)}
    found = scored(tmp_path, "router", parameters={"layers": [0]}, **columns)
    assert [found[id][0] for id in "ab"] == [1.0, 5.0]


def test_methods_of_losses(tmp_path):
    found = scored(tmp_path, "expert_gain", **{"gates/warmed": {"nll_shut": [8, 8, None], "nll_open": [4, 12, None]}})
    assert found == {"a": (2.0, None), "b": (-1.0, None), "c": (None, NO_RESPONSE)}
    losses = {"likelihood/selector": {"nll": [3.0, 9.0, None], "nll_unconditional": [4.0, 9.0, None]}}
    assert scored(tmp_path, "nll", **losses) == {"a": (-1.5, None), "b": (-2.25, None), "c": (None, NO_RESPONSE)}
    assert scored(tmp_path, "ifd", **losses) == {"a": (0.75, None), "b": (None, NO_HELP), "c": (None, NO_RESPONSE)}
    found = scored(tmp_path, "bottom", parameters={"of": "nll"}, **losses)
    assert found == {"a": (1.5, None), "b": (2.25, None), "c": (None, NO_RESPONSE)}


def test_reducible_has_no_score_for_what_the_warm_up_trained_on(tmp_path):
    columns = {
        "likelihood/untrained": {"nll": [4.0, 8.0, None]},
        "likelihood/warmed": {"nll": [3.0, 4.0, None]},
        "warmup/warmed": {"in_warmup": [True, False, False]},
    }
    found = scored(tmp_path, "reducible", **columns)
    assert found == {"a": (None, TRAINED_ON), "b": (1.0, None), "c": (None, NO_RESPONSE)}


def test_methods_without_a_model(tmp_path):
    assert scored(tmp_path, "length") == {"b": (4.0, None), "a": (2.0, None), "c": (None, NO_RESPONSE)}
    found = scored(tmp_path, "random", seed=3)
    assert found["c"] == (None, NO_RESPONSE)
    assert found["a"][0] != found["b"][0]
    assert found != scored(tmp_path, "random", seed=4)


def test_scores_from_elsewhere(tmp_path):
    """Of a file that has no score for an example, and of a column that the rows of the sources bring."""
    (tmp_path / "mine.csv").write_text("source,row,perplexity,id\nx,0,3.5,b\nx,1,9,c\n")
    pool = {"source": ["s"] * 3, "source_index": [4, 5, 6], "score:quality": [None, 2.0, 3.0]}
    pl.DataFrame({"id": IDS, **pool}).write_parquet(tmp_path / "pool.parquet")
    scored(tmp_path, "random")  # which writes the passes
    files = {"pool/selector": tmp_path / "pool.parquet", "tokens/selector": tmp_path / "tokens-selector.parquet"}
    for parameters, file, expected in (
        ({"path": str(tmp_path / "mine.csv"), "column": "perplexity", "better": "lower"}, tmp_path / "mine.csv", -3.5),
        ({"column": "quality"}, None, 2.0),
    ):
        given = {name: str(path) for name, path in (files | ({"external/selector": file} if file else {})).items()}
        out = tmp_path / "external.parquet"
        score_of = {"method": "external", "parameters": json.dumps(parameters), "files": json.dumps(given)}
        score.main(**score_of, out=out, seed=0)
        found = {row["id"]: (row["score"], row["reason"]) for row in pl.read_parquet(out).iter_rows(named=True)}
        assert found == {"b": (expected, None), "a": (None, NOT_GIVEN), "c": (None, NO_RESPONSE)}


def test_a_reward_is_that_of_a_label(tmp_path):
    """The last example has a response for the selector, and none for the reward model."""
    scores = pl.Series([[-0.1, -2.3], [-1.2, -0.4], None], dtype=pl.List(pl.Float32))
    passes = {"reward/reward": {"scores": scores, "labels": ['["good", "bad"]'] * 2 + [None]}}
    found = scored(tmp_path, "reward", tokens=[2, 4, 3], parameters={"label": "good"}, **passes)
    assert found == {"a": (pytest.approx(-0.1), None), "b": (pytest.approx(-1.2), None), "c": (None, NO_TOKENS)}


def test_a_pass_of_another_pool_is_refused(tmp_path):
    scored(tmp_path, "length")
    pl.DataFrame({"id": ["a", "c", "b"], "n_tokens": TOKENS}).write_parquet(tmp_path / "tokens-selector.parquet")
    files = {name: str(tmp_path / f"{name.replace('/', '-')}.parquet") for name in ("pool/selector", "tokens/selector")}
    with pytest.raises(UserError, match=r"tokens-selector.parquet: its ids are not those of the pool in their order"):
        score.main(method="length", parameters="{}", files=json.dumps(files), out=tmp_path / "out.parquet", seed=0)


def test_a_pool_without_any_response_is_refused(tmp_path):
    nothing = pl.Series([None] * 3, dtype=pl.List(pl.Float64))
    with pytest.raises(UserError, match=r"data.max_length: no example has a response token"):
        scored(tmp_path, "router", **{"routing/warmed": {"log_odds": nothing, "log_odds_all": nothing}})
