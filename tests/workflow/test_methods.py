"""A method is one function in one file; a dense selector serves all that need no router."""

import json
import subprocess

import polars as pl
import pytest
from given.markdown import blocks, commands

METHODS = ("router", "router_untrained", "typical_inputs", "random")  # of the finished run


def printed(checkout, *words: str) -> str:
    command = [checkout.python, "-m", *words]
    return subprocess.run(
        command, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True, check=True
    ).stdout


def test_a_method_added_in_one_file_is_planned_documented_and_reported(another):
    """It is the example of CONTRIBUTING.md, which names the file in its first line."""
    (code,) = blocks("CONTRIBUTING.md", "python")
    (another.folder / code.splitlines()[0].removeprefix("# ")).write_text(code)
    changed = another.configured("surprise", methods=[*METHODS, {"surprise": {"power": 2}}])
    assert another.planned("--configfile", changed) == {
        "score_method": 1, "select_run": 1, "train_adapter": 1, "evaluate_run": 1, "cards": 1, "report": 1,
    }  # fmt: skip
    caption = "how unexpected the end of the response is"
    assert "surprise" in printed(another, "moesift.stages.score", "--help")
    assert f"| `surprise` | {caption} |" in printed(another, "moesift.reference", "config/config.yaml")
    another.snakemake("report", "--cores", "2", "--configfile", changed)
    assert caption in (another.folder / "results/tiny/report/index.html").read_text()
    ends = pl.read_parquet(another.folder / "results/tiny/passes/selector/likelihood.parquet").select("id", "nll_end")
    scores = pl.read_parquet(another.folder / "results/tiny/scores/surprise/seed-0.parquet").join(ends, on="id")
    assert scores["score"].drop_nulls().to_list() == pytest.approx((scores["nll_end"].drop_nulls() ** 2).to_list())


def test_the_command_of_the_page_makes_a_selection_of_that_method(copy, tmp_path):
    checkout = copy(tmp_path / "page")
    (code,), (settings,) = blocks("CONTRIBUTING.md", "python"), blocks("CONTRIBUTING.md", "yaml")
    for text in (code, settings):
        (checkout.folder / text.splitlines()[0].removeprefix("# ").partition(":")[0]).write_text(text)
    rows = [{"prompt": f"Say {n}.", "completion": f"It is {n}."} for n in range(40)]
    (checkout.folder / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (command,) = [words for words in map(str.split, commands("CONTRIBUTING.md")) if words[0] == "snakemake"]
    assert checkout.planned(*command[1:])["select_run"] == 1


@pytest.mark.slow
def test_a_dense_selector_runs_the_recommended_method_to_a_selection(checkout):
    dense = checkout.configured("dense", experiment="dense", selector={"model": "smollm2"}, methods=["typical_inputs"])
    checkout.snakemake("select", "--cores", "2", "--configfile", dense)
    scores = pl.read_parquet(checkout.folder / "results/dense/scores/typical_inputs/seed-0.parquet")
    selected = pl.read_parquet(checkout.folder / "results/dense/selected/typical_inputs/ratio-0.25/seed-0.parquet")
    assert scores["score"].n_unique() > 40
    assert selected.height == round(0.25 * scores.height)


@pytest.mark.slow
def test_the_best_of_eight_answers_is_kept_of_each_of_a_thousand_instructions(another):
    """By the likelihood under the target, which is GRAPE (arXiv 2502.04194): one command, every instruction once."""
    rows = [
        {"prompt": f"Add {n} and 1.", "completion": f"It is {n} {word}."} for n in range(1000) for word in "abcdefgh"
    ]
    (another.folder / "answers.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"sources": [{"name": "answers", "path": "answers.jsonl"}], "heldout": 8, "corrupt": 0}
    changes = {"methods": [{"nll": {"reject": None}}], "select": {"per_instruction": 1, "ratio": 0.125}, "data": data}
    best = another.configured("best", experiment="best", **changes)
    another.snakemake("select", "--cores", "2", "--configfile", best)
    results = another.folder / "results/best"
    kept, pool = (
        pl.read_parquet(results / name).with_columns(asked=pl.col("messages").list.first().struct.field("content"))
        for name in ("selected/nll/ratio-0.125/seed-0.parquet", "data/pool.parquet")
    )
    assert pool.height == 7992  # the eight answers to one question are held out
    assert kept.height == kept["asked"].n_unique() == 999
    scores = pool.join(pl.read_parquet(results / "scores/nll/seed-0.parquet").select("id", "score"), on="id")
    expected = scores.group_by("asked").agg(pl.col("id").sort_by("score").last())
    assert set(kept["id"]) == set(expected["id"])
