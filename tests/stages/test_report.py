import json
import re
import shutil
import sys

import polars as pl
import pytest
from given.comparison import CONFIG, REJECTED, curves, dropped, evaluations, pool, questions, scores, selections

from moesift.errors import UserError
from moesift.stages import report

# As Snakemake writes them: of a job with a quote in its command, of one that was over before it was looked at, and one
# that is not extended.
HEADER = ("s", "h:m:s", "max_rss", "cpu_time", "rule_name", "params", "resources")
RECORDS = [
    (
        "warmup/seed-0/epoch-1",
        HEADER,
        ("60.5", "0:01:00", "1024.00", "55.1", "warmup_epoch", "{'flags': '--x \"a'}", "{'gpu': 2}"),
    ),
    ("scores/router/seed-0", HEADER, ("0.41", "0:00:00", "NA", "NA", "score_method", "{}", "{}")),
    ("eval/base", HEADER[:4], ("7200.1", "2:00:00", "2048.00", "-")),
]


@pytest.fixture
def words(tmp_path):
    """The inputs as the other stages write them, and the words of the command."""
    seeds = (0, 7)
    paths = {"evaluations": [], "scores": [], "selections": [], "curves": []}
    for number, evaluation in enumerate(evaluations(seeds)):
        paths["evaluations"].append(tmp_path / f"eval-{number}.json")
        paths["evaluations"][-1].write_text(json.dumps(evaluation))
        run = [pl.col(key).eq_missing(pl.lit(evaluation[key])) for key in ("method", "ratio", "seed")]
        of_run = questions(seeds).filter(*run).drop("method", "ratio", "seed")
        of_run.write_parquet(paths["evaluations"][-1].with_suffix(".parquet"))
    for (method, seed), part in scores(seeds).group_by("method", "seed", maintain_order=True):
        paths["scores"].append(tmp_path / f"scores/{method}/seed-{seed}.parquet")
        paths["scores"][-1].parent.mkdir(parents=True, exist_ok=True)
        odds = pl.lit([0.0, 2.0] if method == "router" else None, pl.List(pl.Float64))
        layers = odds.alias("layer_scores")
        part.select("id", "score", layers, "reason").write_parquet(paths["scores"][-1])
    for (method, seed), part in selections(seeds).group_by("method", "seed", maintain_order=True):
        path = tmp_path / f"selected/{method}/ratio-0.5/seed-{seed}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.select("id", "score").write_parquet(path)
        left_out = dropped(seeds).filter(method=method, seed=seed).select("id", "score", "reason")
        left_out.write_parquet(path.with_suffix(".dropped.parquet"))
        paths["selections"].append(path)
    for seed in seeds:
        paths["curves"].append(tmp_path / f"warmup/seed-{seed}/epoch-1.jsonl")
        paths["curves"][-1].parent.mkdir(parents=True)
        curves().drop("seed").write_ndjson(paths["curves"][-1])
    for name, header, record in RECORDS:
        path = tmp_path / f"benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\t".join(header) + "\n" + "\t".join(record) + "\n")
    pool().write_parquet(tmp_path / "pool.parquet")
    REJECTED.write_parquet(tmp_path / "rejected.parquet")
    flags = [word for name, found in paths.items() for word in (f"--{name}", *map(str, found))]
    flags += ["--pool", str(tmp_path / "pool.parquet"), "--rejected", str(tmp_path / "rejected.parquet")]
    flags += ["--benchmarks", str(tmp_path / "benchmarks")]
    flags += ["--results", str(tmp_path / "out/results.json"), "--page", str(tmp_path / "out/report/index.html")]
    return ["report", *flags, "--config", json.dumps({**CONFIG, "seeds": list(seeds)})]


def test_seeds_and_methods_are_read_from_the_paths(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", words)
    report.main()
    numbers = json.loads((tmp_path / "out/results.json").read_text())
    assert [(row["method"], row["seed"]) for row in numbers["rows"]] == [
        ("base", None),
        ("router", 0),
        ("router", 7),
        ("random", 0),
        ("random", 7),
    ]
    assert {(row["method"], row["seed"]) for row in numbers["auroc"]} == {
        (method, seed) for method in ("router", "random") for seed in (0, 7)
    }
    shares = [(row["seed"], row["layer"], round(row["median"], 4)) for row in numbers["keep_shares"]]
    assert shares == [(0, 0, 0.5), (0, 1, 0.8808), (7, 0, 0.5), (7, 1, 0.8808)]  # 1 / (1 + exp(-2))
    (compared,) = numbers["against_random"]  # of mmlu each task has one question of two that the router alone knows
    assert {compared["outcomes"]["mmlu"][end] for end in ("low_questions", "high_questions")} == {0.0, 1.0}
    html = (tmp_path / "out/report/index.html").read_text()
    assert all(sentence in html for sentence in numbers["headline"])
    assert capsys.readouterr().out == f"{tmp_path / 'out/report/index.html'}\n"


def test_a_path_without_a_seed_is_refused(words, tmp_path, monkeypatch):
    (tmp_path / "scores/router/seed-0.parquet").rename(tmp_path / "scores/router/first.parquet")
    monkeypatch.setattr(sys, "argv", [word.replace("router/seed-0", "router/first") for word in words])
    with pytest.raises(UserError, match="first: expected seed- and a number"):
        report.main()


def test_the_records_of_the_jobs_are_read_and_are_not_part_of_the_numbers(words, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", words)
    report.main()
    html = (tmp_path / "out/report/index.html").read_text()
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", html, re.S)]
    took = [row for row in rows if row and row[0] in ("not recorded", "warmup_epoch", "score_method")]
    assert took == [
        ["not recorded", "1", "2 h 00 min", "2 h 00 min", "2.0", "0 s", ""],
        ["warmup_epoch", "1", "1 min 00 s", "1 min 00 s", "1.0", "55 s", "0.03"],
        ["score_method", "1", "0 s", "0 s", "", "0 s", "0.00"],
    ]
    before = (tmp_path / "out/results.json").read_text()
    shutil.rmtree(tmp_path / "benchmarks")
    report.main()
    assert "There is no record of the jobs." in (tmp_path / "out/report/index.html").read_text()
    assert (tmp_path / "out/results.json").read_text() == before
