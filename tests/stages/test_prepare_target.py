import json

import polars as pl
import pytest

from moesift import config
from moesift.errors import UserError
from moesift.stages import prepare_target


@pytest.fixture
def prepared(tmp_path):
    """Run the stage on 30 good rows and 20 bad ones, with a pool of an example, and another held out of it."""
    good = [{"prompt": f"ask {n}", "completion": f"say {n}"} for n in range(30)]
    bad = ['{"text": "none"}'] * 10 + ["no JSON"] * 10
    (tmp_path / "wishes.jsonl").write_text("\n".join([*map(json.dumps, good), *bad]))
    (tmp_path / "empty.jsonl").write_text("")
    pool = [tmp_path / "pool.parquet", tmp_path / "heldout.parquet"]
    for path, question in zip(pool, ("ask 7", "ask 8"), strict=True):
        rows = [{"role": "user", "content": question}, {"role": "assistant", "content": "something else"}]
        pl.DataFrame({"id": ["x"], "messages": [rows]}).write_parquet(path)

    def run(path="wishes.jsonl", **settings):
        target = config.TargetTask(name="wishes", path=str(tmp_path / path), **{"heldout": 0, **settings})
        prepare_target.main(target, pool, [], None, 0, tmp_path / "out")
        return [pl.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("queries", "heldout", "rejected")]

    return run


def test_every_row_is_a_query_held_out_or_rejected_with_a_reason(prepared, monkeypatch):
    monkeypatch.setattr(prepare_target, "read_questions", lambda *_: [])
    queries, heldout, rejected = prepared()
    assert (queries.height, heldout.height, rejected.height) == (28, 0, 22)
    assert rejected["reason"].null_count() == 0
    for row in (7, 8):
        assert rejected.filter(row=row)["reason"].to_list() == ["shares a question or an exchange with the pool"]
    queries, heldout, _ = prepared(queries=10, heldout=12)
    assert (queries.height, heldout.height) == (10, 12)
    assert set(queries["source"]) == {"wishes"}
    assert not set(queries["id"]) & set(heldout["id"])


def test_a_target_without_a_usable_row_is_one_error(prepared, monkeypatch):
    monkeypatch.setattr(prepare_target, "read_questions", lambda *_: [])
    with pytest.raises(UserError, match=r"targets: wishes: wishes: there are no rows in .*empty.jsonl"):
        prepared(path="empty.jsonl")
    with pytest.raises(UserError, match=r"targets: wishes: of 50 rows 28 can be used"):
        prepared(heldout=40)
