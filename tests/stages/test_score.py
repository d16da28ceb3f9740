import numpy as np
import polars as pl
import pytest

from moesift.errors import UserError
from moesift.methods.table import NO_RESPONSE
from moesift.methods.typicality import LEAST, typical_inputs
from moesift.stages import score

SIGNALS = pl.Series([[1.0, 3.0], [5.0, 1.0], None], dtype=pl.List(pl.Float64))


def frame(**quantity):
    (name, values), *_ = quantity.items()
    return pl.DataFrame({"id": ["a", "b", "c"], "source": ["s"] * 3, "n_tokens": [2, 4, 0], name: values}, strict=False)


def scored(folder, monkeypatch, method, *frames, flags=()):
    paths = []
    for number, given in enumerate(frames):
        paths += ["--measured", str(folder / f"{number}.parquet"), given.columns[-1]]
        given.write_parquet(folder / f"{number}.parquet")
    out = folder / "scores.parquet"
    monkeypatch.setattr("sys.argv", ["score", method, *paths, "--out", str(out), *flags])
    score.main()
    return {row["id"]: (row["score"], row["reason"]) for row in pl.read_parquet(out).iter_rows(named=True)}


def test_router_by_layers(tmp_path, monkeypatch):
    found = scored(tmp_path, monkeypatch, "router", frame(signals=SIGNALS), flags=["--layers", "all"])
    assert found == {"b": (3.0, None), "a": (2.0, None), "c": (None, NO_RESPONSE)}
    found = scored(tmp_path, monkeypatch, "router_untrained", frame(signals=SIGNALS), flags=["--layers", "[0]"])
    assert [found[id][0] for id in "ab"] == [1.0, 5.0]
    layers = pl.read_parquet(tmp_path / "scores.parquet").sort("id")["layer_scores"].to_list()
    assert layers == [[1.0, 3.0], [5.0, 1.0], None]
    with pytest.raises(UserError, match=r"score.layers: 2 is beyond the 2 routed layers, numbered from 0"):
        scored(tmp_path, monkeypatch, "router", frame(signals=SIGNALS), flags=["--layers", "[2]"])


def test_loss_based_methods(tmp_path, monkeypatch):
    shut, opened = frame(nats_shut=[8.0, 8.0, None]), frame(nats_open=[4.0, 12.0, None])
    found = scored(tmp_path, monkeypatch, "expert_gain", shut, opened)
    assert found == {"a": (2.0, None), "b": (-1.0, None), "c": (None, NO_RESPONSE)}
    found = scored(tmp_path, monkeypatch, "nll", frame(nats=[4.0, 12.0, None]))
    assert found == {"a": (-2.0, None), "b": (-3.0, None), "c": (None, NO_RESPONSE)}


def test_ifd_of_one_or_more_is_left_out_with_its_reason(tmp_path, monkeypatch):
    found = scored(tmp_path, monkeypatch, "ifd", frame(nats=[3.0, 9.0, None]), frame(nats_alone=[4.0, 9.0, None]))
    assert found == {"a": (0.75, None), "b": (None, score.NO_HELP), "c": (None, NO_RESPONSE)}


def test_what_is_typical_is_read_of_each_example_and_its_sketch(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    count = LEAST + 1
    tokens = [*rng.integers(5, 50, LEAST).tolist(), 0]
    nats, alone, end = (rng.uniform(1, 3, LEAST) for _ in range(3))
    sketch = rng.normal(size=(LEAST, 8)).astype(np.float32)
    rows = {"id": [f"{n:03}" for n in range(count)], "source": ["s"] * count, "n_tokens": tokens}
    columns = {"nats": nats, "nats_alone": alone, "nats_end": end, "sketch": sketch}
    frames = [pl.DataFrame(rows | {name: [*values.tolist(), None]}) for name, values in columns.items()]
    found = scored(tmp_path, monkeypatch, "typical_inputs", *frames)
    expected = typical_inputs(nats, alone, end, sketch, np.array(tokens[:-1]), np.array(["s"] * LEAST))
    assert [found[id][0] for id in rows["id"][:-1]] == pytest.approx(expected.tolist(), abs=1e-5)
    assert found[rows["id"][-1]] == (None, NO_RESPONSE)


def test_reducible_says_nothing_of_what_the_warm_up_trained_on(tmp_path, monkeypatch):
    pl.DataFrame({"id": ["a", "b", "c"]}).write_parquet(tmp_path / "pool.parquet")
    first, last = frame(nats=[4.0, 8.0, None]), frame(nats=[3.0, 4.0, None])
    flags = ["--seed", "0", "--pool", str(tmp_path / "pool.parquet"), "--examples", "1"]
    found = scored(tmp_path, monkeypatch, "reducible", first, last, flags=flags)
    (trained,) = pl.DataFrame({"id": ["a", "b", "c"]}).sample(1, seed=0)["id"]  # as the warm-up draws
    expected = {"a": (0.5, None), "b": (1.0, None), "c": (None, NO_RESPONSE)}
    if trained != "c":
        expected[trained] = (None, score.TRAINED_ON)
    assert found == expected


def test_methods_without_a_model(tmp_path, monkeypatch):
    found = scored(tmp_path, monkeypatch, "length", frame(tokens=[2, 4, None]))
    assert found == {"b": (4.0, None), "a": (2.0, None), "c": (None, NO_RESPONSE)}
    found = scored(tmp_path, monkeypatch, "random", frame(tokens=[2, 4, None]), flags=["--seed", "3"])
    assert found["c"] == (None, NO_RESPONSE)
    assert found["a"][0] != found["b"][0]


def test_a_pool_without_any_response_is_refused(tmp_path, monkeypatch):
    nothing = frame(signals=pl.Series([None] * 3, dtype=pl.List(pl.Float64)))
    with pytest.raises(UserError, match=r"data.max_length: no response token"):
        scored(tmp_path, monkeypatch, "router", nothing, flags=["--layers", "all"])
