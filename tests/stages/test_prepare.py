import json
import subprocess
import sys
from collections import Counter

import polars as pl
import pytest

from moesift import config, flags
from moesift.data.pool import content_id
from moesift.stages import prepare

COLUMNS = ["id", "source", "source_index", "messages", "choices", "corruption", "severity", "finished"]
NAMES = ("pool", "heldout", "rejected")


@pytest.fixture
def words(tmp_path):
    """The flags for 27 rows: 20 good ones; of another source 4 good ones, a duplicate, a broken and an unknown one."""
    good = [{"prompt": f"ask {n}", "completion": f"say {n} and {n + 1}"} for n in range(20)]
    other = [{"instruction": f"do {n}", "output": f"done with {n}"} for n in range(4)]
    broken = [json.dumps(other[0]), '{"\x1b": ', '{"text": "none"}']
    (tmp_path / "good.jsonl").write_text("\n".join(json.dumps(row) for row in good))
    (tmp_path / "other.jsonl").write_text("\n".join([*(json.dumps(row) for row in other), *broken]))
    sources = [{"name": name, "path": str(tmp_path / f"{name}.jsonl")} for name in ("good", "other")]

    def make(out, heldout=5):
        data = {"sources": sources, "heldout": heldout, "corrupt": 0.4, "seed": 0}
        data["corruptions"] = ["swapped_response", "shuffled_words", "truncated"]
        files = [word for name in NAMES for word in (f"--{name}", str(tmp_path / out / f"{name}.parquet"))]
        return ["--data", json.dumps(data), *files]

    return make


def test_every_row_is_accounted_for_and_the_files_repeat_to_the_byte(tmp_path, words, capsys):
    for out in ("out", "again"):
        prepare.main(**flags.parsed(prepare.main, words(out)))
    paths = {name: tmp_path / "out" / f"{name}.parquet" for name in NAMES}
    for path in paths.values():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()

    pool, heldout, rejected = (pl.read_parquet(path) for path in paths.values())
    assert (len(pool), len(heldout), len(rejected)) == (19, 5, 3)
    kinds = {"clean": 11, "swapped_response": 3, "shuffled_words": 3, "truncated": 2}
    assert Counter(pool["corruption"]) == kinds
    assert set(heldout["corruption"]) == {"clean"}
    for frame in (pool, heldout):
        assert frame.columns == COLUMNS
        assert frame["id"].to_list() == [content_id(messages) for messages in frame["messages"].to_list()]
    instructions = [{turns[0]["content"] for turns in frame["messages"].to_list()} for frame in (pool, heldout)]
    assert not instructions[0] & instructions[1]
    assert rejected.columns == ["source", "row", "reason", "content"]
    assert rejected.select("source", "row", "content").rows() == [
        ("other", 5, '{"\x1b": '),
        ("other", 6, '{"text": "none"}'),
        (
            "other",
            4,
            '{"messages": [{"role": "user", "content": "do 0"}, {"role": "assistant", "content": "done with 0"}]}',
        ),
    ]
    places = [(row["source"], row["source_index"]) for frame in (pool, heldout) for row in frame.to_dicts()]
    places += rejected.select("source", "row").rows()
    assert sorted(places) == [("good", n) for n in range(20)] + [("other", n) for n in range(7)]

    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["read: good 20, other 7", "pool: 19, held out: 5, rejected: 3"]
    assert printed[2].startswith("pool by corruption: clean 11, ")
    assert "rejected 1 x duplicate of …" in printed
    assert all(line.isprintable() for line in printed)


def test_scores_of_rows_are_columns_of_the_pool(tmp_path):
    """As in sets with a quality in each row; a row whose score is no number is rejected, one without is kept."""
    rows = [{"instruction": f"do {n}", "output": f"done with {n}", "quality": n / 2, "label": 0} for n in range(6)]
    rows += [{"instruction": "do a", "output": "b"}, {"instruction": "do c", "output": "d", "quality": "high"}]
    (tmp_path / "own.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "other.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"{n}?", "completion": f"{n}"}) for n in "ab")
    )
    own = {"name": "own", "path": str(tmp_path / "own.jsonl"), "scores": ["quality", "label"]}
    data = {"sources": [own, {"name": "other", "path": str(tmp_path / "other.jsonl")}], "heldout": 1, "corrupt": 0}
    data |= {"corruptions": [], "seed": 0, "max_length": 64}
    files = {name: tmp_path / f"{name}.parquet" for name in NAMES}
    prepare.main(config.Data.model_validate(data), **files)
    pool, heldout, rejected = (pl.read_parquet(path) for path in files.values())
    assert pool.columns == [*COLUMNS, "score:quality", "score:label"]
    assert heldout.columns == COLUMNS
    found = {
        (source, row): scores for source, row, *scores in pool.select("source", "source_index", r"^score:.*$").rows()
    }
    expected = {("own", n): [n / 2, 0.0] for n in range(6)} | {("own", 6): [None, None]}
    expected |= {("other", n): [None, None] for n in range(2)}
    assert len(found) == len(expected) - 1
    assert found.items() <= expected.items()
    reason = "quality is 'high', and `scores` takes a finite number, or null for none"
    assert rejected.select("source", "row", "reason").rows() == [("own", 7, reason)]


def test_a_users_error_is_one_message_and_exit_code_1(tmp_path, words):
    command = [sys.executable, "-m", "moesift.stages.prepare", *words("out", heldout=24)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "moesift: error: heldout: 24 examples are asked for, but the pool has 24 in all, of which 24 share no "
        "question and no exchange with another; ask for fewer or read more rows\n"
    )
    assert not list((tmp_path / "out").iterdir())
