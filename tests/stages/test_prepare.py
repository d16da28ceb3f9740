import json
import subprocess
import sys
from collections import Counter

import polars as pl
import pytest

from moesift.data.pool import content_id
from moesift.stages import prepare

COLUMNS = ["id", "source", "source_index", "messages", "choices", "corruption", "severity", "finished"]


def flags(folder, sources, heldout=5, corrupt=0.4):
    settings = {
        "--sources": json.dumps(sources),
        "--heldout": str(heldout),
        "--corrupt": str(corrupt),
        "--corruptions": "[swapped_response, shuffled_words, truncated]",
        "--seed": "0",
        "--pool": str(folder / "out/pool.parquet"),
        "--heldout-out": str(folder / "out/heldout.parquet"),
        "--rejected": str(folder / "out/rejected.parquet"),
    }
    return [word for pair in settings.items() for word in pair]


@pytest.fixture
def sources(tmp_path):
    """27 rows: 20 good ones in one file; in the other 4 good ones, a duplicate, a broken line and an unknown one."""
    good = [{"prompt": f"ask {n}", "completion": f"say {n} and {n + 1}"} for n in range(20)]
    other = [{"instruction": f"do {n}", "output": f"done with {n}"} for n in range(4)]
    broken = [json.dumps(other[0]), "{", '{"text": "none"}']
    (tmp_path / "good.jsonl").write_text("\n".join(json.dumps(row) for row in good))
    (tmp_path / "other.jsonl").write_text("\n".join([*(json.dumps(row) for row in other), *broken]))
    return [{"name": name, "path": str(tmp_path / f"{name}.jsonl")} for name in ("good", "other")]


def test_every_row_is_accounted_for(tmp_path, sources, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prepare", *flags(tmp_path, sources)])
    prepare.main()

    pool, heldout, rejected = (
        pl.read_parquet(tmp_path / f"out/{name}.parquet") for name in ("pool", "heldout", "rejected")
    )
    assert (len(pool), len(heldout), len(rejected)) == (19, 5, 3)
    assert Counter(pool["corruption"]) == {
        "clean": 11,
        "swapped_response": 3,
        "shuffled_words": 3,
        "truncated": 2,
    }
    assert set(heldout["corruption"]) == {"clean"}
    for frame in (pool, heldout):
        assert frame.columns == COLUMNS
        assert frame["id"].to_list() == [content_id(messages) for messages in frame["messages"].to_list()]
    assert not {turns[0]["content"] for turns in pool["messages"].to_list()} & {
        turns[0]["content"] for turns in heldout["messages"].to_list()
    }
    assert rejected.columns == ["source", "row", "reason", "content"]
    assert rejected.select("source", "row", "content").rows() == [
        ("other", 5, "{"),
        ("other", 6, '{"text": "none"}'),
        ("other", 4, '{"instruction": "do 0", "output": "done with 0"}'),
    ]
    places = [(row["source"], row["source_index"]) for frame in (pool, heldout) for row in frame.to_dicts()]
    places += rejected.select("source", "row").rows()
    assert sorted(places) == [("good", n) for n in range(20)] + [("other", n) for n in range(7)]

    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "read: good 20, other 7"
    assert printed[1] == "pool: 19, held out: 5, rejected: 3"
    assert printed[2].startswith("pool by corruption: clean 11, ")
    assert "rejected 1 x duplicate of …" in printed


def test_the_outputs_repeat_to_the_byte(tmp_path, sources, monkeypatch):
    written = []
    for folder in ("first", "second"):
        monkeypatch.setattr(sys, "argv", ["prepare", *flags(tmp_path / folder, sources)])
        prepare.main()
        written.append([path.read_bytes() for path in sorted((tmp_path / folder / "out").iterdir())])
    assert written[0] == written[1]


def test_a_users_error_is_one_message_and_exit_code_1(tmp_path, sources):
    command = [sys.executable, "-m", "moesift.stages.prepare", *flags(tmp_path, sources, heldout=24)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "moesift: error: heldout: 24 examples are asked for, but the pool has 24 in all, of which 24 share their "
        "instruction with no other; ask for fewer or read more rows\n"
    )
    assert not (tmp_path / "out").exists()
