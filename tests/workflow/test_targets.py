"""A run with targets on a finished one: what is read again, what is compared, and what each target took."""

import json

import polars as pl
import pytest

MINE = {"name": "mine", "path": "wishes.jsonl", "queries": 5, "heldout": 6}
EXAM = {"name": "exam", "task": "arc_challenge", "split": "validation", "queries": 4, "heldout": 5}
BOTH = {"both": {"method": "rds_middle", "add": "queries", "queries": 2}}
METHODS = ["random", "rds_middle", BOTH, {"dsir": {"targets": "each"}}, "queries_only"]


@pytest.fixture
def ready(another):
    """A copy of a checkout in which a run without targets is finished, with twelve wishes and a line that is none."""
    wishes = [{"prompt": f"Say {word} twice.", "completion": f"{word} {word}"} for word in "abcdefghijkl"]
    (another.folder / "wishes.jsonl").write_text("\n".join([*map(json.dumps, wishes), "this line is no JSON"]))
    return another


@pytest.mark.slow
def test_targets_are_compared_and_another_one_reads_the_pool_not_again(ready):
    one = ready.configured("one", methods=METHODS, targets=[MINE])
    planned = ready.planned("--configfile", one)
    assert (planned["prepare_target"], planned["run_query_pass"], planned["merge_pass"]) == (1, 1, 1)
    assert not {"prepare", "pretrain_model", "warmup_epoch"} & set(planned)
    ready.snakemake("--cores", "2", "--configfile", one)

    results = ready.folder / "results/tiny"
    assert pl.read_parquet(results / "targets/mine/rejected.parquet")["row"].to_list() == [12]
    queries = pl.read_parquet(results / "targets/mine/queries.parquet")
    selection = pl.read_parquet(results / "selected/rds_middle/ratio-0.25/seed-0.parquet")
    assert set(selection["target"]) == {"mine"}
    assert set(selection["query"]) == set(queries["id"])  # all of them take turns
    both = pl.read_parquet(results / "selected/both/ratio-0.25/seed-0.parquet")
    assert both["query"].n_unique() == 3  # two, and none where a query was added
    assert both["id"].to_list()[selection.height :] == [queries["id"][0], queries["id"][2]]
    only = pl.read_parquet(results / "selected/queries_only/queries/seed-0.parquet")
    assert only["id"].to_list() == queries["id"].to_list()
    found = json.loads((results / "results.json").read_text())
    assert found["targets"] == [{"name": "mine", "queries": 5, "heldout": 6}]
    compared = {row["method"] for row in found["differences"] if row["outcome"] == "heldout:mine"}
    assert compared == {"rds_middle", "both", "dsir", "queries_only", "base"}
    assert sum(row["examples"] for row in found["taken"] if row["method"] == "dsir.mine") == selection.height

    threads = ready.configured("threads", methods=METHODS, targets=[MINE], throughput={"threads": 2})
    assert ready.planned("--configfile", threads) == {}

    two = ready.planned("--configfile", ready.configured("two", methods=METHODS, targets=[MINE, EXAM]))
    assert not {"prepare", "run_pass", "merge_pass", "pretrain_model"} & set(two)
    assert (two["prepare_target"], two["run_query_pass"]) == (1, 1)
    assert two["score_method"] == 3  # rds_middle and both, now for two targets, and dsir for the new one
