import io
import json
import subprocess
import zipfile

import polars as pl
import pytest
import yaml

from moesift import provenance
from moesift.stages import archive
from moesift.stages.archive import pack


def test_texts_are_left_out_and_all_else_is_packed(tmp_path, monkeypatch):
    results = tmp_path / "results"
    folder = results / "selected/nll/ratio-0.1"
    folder.mkdir(parents=True)
    kept = {"id": ["b", "a"], "rank": [1, 2], "score": [0.1 + 0.2, 0.1], "source": ["s", "s"], "source_index": [7, 3]}
    pl.DataFrame(kept | {"messages": [["SECRET"], ["SECRET"]]}).write_parquet(folder / "seed-0.parquet")
    (results / "results.json").write_text("{}\n")
    (results / "tables").mkdir()
    (results / "tables/runs.parquet").write_bytes(b"rows")
    monkeypatch.setattr(archive, "commit", lambda: "abc1234+")
    archive.main(
        results,
        files=[results / "results.json"],
        selections=[folder / "seed-0.parquet"],
        tables=results / "tables",
        config=json.dumps({"experiment": "x", "seeds": [0]}),
        out=tmp_path / "x.zip",
    )
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        found = {name.removeprefix("x/"): packed.read(name) for name in packed.namelist()}
    assert set(found) == {
        *("README.md", "SHA256SUMS", "configuration.yaml", "made_from.json", "results.json", "tables/runs.parquet"),
        "selected/nll/ratio-0.1/seed-0.parquet",
    }
    assert not any(b"SECRET" in content for content in found.values())
    selection = pl.read_parquet(io.BytesIO(found["selected/nll/ratio-0.1/seed-0.parquet"]))
    assert selection.to_dict(as_series=False) == kept
    assert yaml.safe_load(found["configuration.yaml"]) == {"experiment": "x", "seeds": [0]}
    assert json.loads(found["made_from.json"])["versions"] == provenance.versions()
    assert "commit abc1234+ with changes that no commit has." in found["README.md"].decode()


def test_it_is_checked_with_sha256sum(tmp_path):
    table = bytes(range(256)) * 100
    pack(tmp_path / "small.zip", "small", {"eval/a b.parquet": table, "README.md": b"# small\n"})
    with zipfile.ZipFile(tmp_path / "small.zip") as packed:
        assert packed.testzip() is None
        assert packed.namelist() == ["small/README.md", "small/eval/a b.parquet", "small/SHA256SUMS"]
        packed.extractall(tmp_path / "there")
    check = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    done = subprocess.run(check, cwd=tmp_path / "there/small", capture_output=True, text=True)
    assert done.stdout.splitlines() == ["README.md: OK", "eval/a b.parquet: OK"]
    (tmp_path / "there/small/eval/a b.parquet").write_bytes(b"other")
    assert subprocess.run(check, cwd=tmp_path / "there/small", capture_output=True).returncode == 1


def test_the_same_files_make_the_same_bytes_and_a_failure_leaves_the_file_before(tmp_path):
    pack(tmp_path / "one.zip", "small", {"b": b"2", "a": b"1"})
    pack(tmp_path / "two.zip", "small", {"a": b"1", "b": b"2"})
    before = (tmp_path / "one.zip").read_bytes()
    assert before == (tmp_path / "two.zip").read_bytes()
    with pytest.raises(TypeError):
        pack(tmp_path / "one.zip", "small", {"a": b"1", "b": None})
    assert (tmp_path / "one.zip").read_bytes() == before
