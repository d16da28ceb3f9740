"""Pairs that experts revised, from their file to the agreement of a score."""

import gzip
import json

import polars as pl
import pytest

from moesift.errors import UserError
from moesift.stages import study_human, study_pairs


@pytest.fixture
def made(tmp_path, monkeypatch):
    def make(content: bytes, name: str):
        (tmp_path / name).write_bytes(content)
        words = ["--path", tmp_path / name, "--pairs", 2, "--seed", 0, "--out", tmp_path / "pool.parquet"]
        monkeypatch.setattr("sys.argv", ["study_pairs", *map(str, words)])
        study_pairs.main()
        return tmp_path / "pool.parquet"

    return make


def pair(number):
    one = {}
    for side in ("Raw", "Revised"):
        one |= {f"{side} Instruction": "ask", f"{side} Input": "", f"{side} Response": f"{side} {number}"}
    return one


BLANK = {f"{side} Instruction": " " for side in ("Raw", "Revised")}


@pytest.mark.parametrize(("name", "packed"), [("pairs.json", bytes), ("pairs.json.gz", gzip.compress)])
def test_pairs_are_scored_side_by_side(made, tmp_path, monkeypatch, name, packed):
    pool = pl.read_parquet(made(packed(json.dumps([pair(0), pair(1)]).encode()), name))
    assert pool["id"].to_list() == ["00000-Raw", "00000-Revised", "00001-Raw", "00001-Revised"]
    assert pool["source"].n_unique() == 1  # methods that score within a source compare the sides
    said = [messages[-1]["content"] for messages in pool["messages"]]
    assert sorted(said) == ["Raw 0", "Raw 1", "Revised 0", "Revised 1"]
    scores = {"liking": [0.0, 1.0, 0.0, 2.0], "disliking": [1.0, 0.0, 2.0, None]}
    for method, values in scores.items():
        pl.DataFrame({"id": pool["id"], "score": values}).sample(fraction=1.0, shuffle=True, seed=0).write_parquet(
            tmp_path / f"{method}.parquet"
        )
    words = ["--pool", tmp_path / "pool.parquet", "--resamples", 20, "--out", tmp_path / "agreement.json"]
    words += ["--scores", *(tmp_path / f"{method}.parquet" for method in scores)]
    monkeypatch.setattr("sys.argv", ["study_human", *map(str, words)])
    study_human.main()
    found = json.loads((tmp_path / "agreement.json").read_text())
    assert found["pairs"] == 2
    assert {row["method"]: row["agreement"]["value"] for row in found["methods"]} == {"liking": 1.0, "disliking": 0.0}


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"[{", "pairs.json", "cannot be read as JSON"),
        (b"[]", "pairs.json.gz", "cannot be read as JSON"),
        (b"{}", "pairs.json", "must be a list of pairs, not dict"),
        (gzip.compress(b"[]" * 99)[:-12] + b"\xff" * 12, "pairs.json.gz", "cannot be read as JSON"),
        (b"[" * 100_000, "pairs.json", "cannot be read as JSON"),
        (
            json.dumps([pair(0), pair(1) | BLANK]).encode(),
            "pairs.json",
            "a turn of user is blank: .*'instruction': ' '",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named(made, content, name, message):
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        made(content, name)
