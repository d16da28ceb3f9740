import io
import json
import zipfile

import polars as pl
import yaml

from moesift import provenance
from moesift.stages import archive


def test_texts_stay_behind_and_all_else_goes_in(tmp_path, monkeypatch):
    results = tmp_path / "results"
    folder = results / "selected/nll/ratio-0.1"
    folder.mkdir(parents=True)
    kept = {"id": ["b", "a"], "rank": [1, 2], "score": [0.1 + 0.2, 0.1], "source": ["s", "s"], "source_index": [7, 3]}
    pl.DataFrame(kept | {"messages": [["SECRET"], ["SECRET"]]}).write_parquet(folder / "seed-0.parquet")
    (results / "results.json").write_text("{}\n")
    words = [
        "--results",
        str(results),
        "--selections",
        str(folder / "seed-0.parquet"),
        "--out",
        str(tmp_path / "x.zip"),
    ]
    words += ["--files", str(results / "results.json"), "--config", json.dumps({"experiment": "x", "seeds": [0]})]
    monkeypatch.setattr("sys.argv", ["archive", *words])
    monkeypatch.setattr(archive, "commit", lambda: "abc1234+")
    archive.main()
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        found = {name.removeprefix("x/"): packed.read(name) for name in packed.namelist()}
    assert set(found) == {
        *("README.md", "SHA256SUMS", "configuration.yaml", "made_from.json", "results.json"),
        "selected/nll/ratio-0.1/seed-0.parquet",
    }
    assert not any(b"SECRET" in content for content in found.values())
    selection = pl.read_parquet(io.BytesIO(found["selected/nll/ratio-0.1/seed-0.parquet"]))
    assert selection.to_dict(as_series=False) == kept
    assert yaml.safe_load(found["configuration.yaml"]) == {"experiment": "x", "seeds": [0]}
    assert json.loads(found["made_from.json"])["versions"] == provenance.versions()
    assert "commit abc1234+ with changes that no commit has." in found["README.md"].decode()
