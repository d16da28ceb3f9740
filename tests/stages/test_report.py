import json

import polars as pl
import pytest
from given.comparison import made


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = made(tmp_path_factory.mktemp("small"), seeds=(0, 7), methods=("router", "random", "full"))
    return json.loads((folder / "results.json").read_text()), folder


def test_the_tables_have_method_budget_ratio_seed_and_outcome_as_columns(small):
    outcomes = pl.read_parquet(small[1] / "tables/outcomes.parquet")
    runs = outcomes.filter(outcome="heldout").select("method", "budget", "ratio", "seed", "value")
    assert runs.rows() == [
        ("base", None, None, None, 5.0),
        ("router", "ratio-0.5", 0.5, 0, 4.0),
        ("router", "ratio-0.5", 0.5, 7, pytest.approx(4 + 7 / 9)),
        ("random", "ratio-0.5", 0.5, 0, 4.2),
        ("random", "ratio-0.5", 0.5, 7, pytest.approx(4.9)),
        ("full", "ratio-1", 1.0, 0, 4.2),
        ("full", "ratio-1", 1.0, 7, pytest.approx(4.9)),
    ]
    assert outcomes.filter(outcome="mmlu")["higher_is_better", "metric"].unique().rows() == [(True, "acc")]
    areas = pl.read_parquet(small[1] / "tables/auroc.parquet")
    assert set(areas["method", "seed"].rows()) == {(m, s) for m in ("router", "random", "full") for s in (0, 7)}
    assert set(areas["kind"]) == {"truncated", "all"}


def test_results_json_has_the_rows_of_every_table(small):
    numbers, folder = small
    names = {path.stem for path in (folder / "tables").iterdir()}
    assert names == {"outcomes", "summary", "differences", "runs", "auroc", "costs", "health", "kept", "overlap"}
    for name in names:
        assert numbers[name] == pl.read_parquet(folder / f"tables/{name}.parquet").to_dicts() != []


def test_what_made_the_numbers_and_what_was_left_out_is_named(small):
    numbers, _ = small
    assert numbers["versions"] == {"torch": ["2", "3"]}
    assert (numbers["commit"], numbers["machine"]) == (["abc1234"], ["a machine"])
    assert numbers["pool"] == [
        {"source": "$b$ <&", "corruption": "clean", "examples": 2},
        {"source": "$b$ <&", "corruption": "truncated", "examples": 6},
        {"source": "a", "corruption": "clean", "examples": 12},
    ]
    assert numbers["rejected"] == [
        {"source": "a", "reason": "no text", "count": 1.0},
        {"source": "b", "reason": "duplicate of …", "count": 2.0},
    ]
    assert numbers["unscored"] == [{"method": "router", "reason": "too long", "count": 1.0}]
    assert numbers["dropped"][1] == {
        "method": "random",
        "budget": "ratio-0.5",
        "reason": "shares a run of words with question … of mmlu_law",
        "count": 1.0,
    }
    assert [method["label"] for method in numbers["methods"]] == ["router", "random", "full"]


def test_the_difference_is_paired_by_question_too(small):
    rows = {(row["method"], row["outcome"]): row for row in small[0]["differences"]}
    router = rows["router", "mmlu"]  # of each task the router alone answers one question of two
    assert {router["low_questions"], router["high_questions"]} == {0.0, 1.0}
    assert rows["router", "heldout"]["high_questions"] < 0


def test_how_sound_the_scores_are_is_a_row_of_each_method_that_measures(small):
    """Of 20 examples, of which the longest comes last; the router has no score for one, which is too few to look at."""
    rows = small[0]["health"]
    assert [(row["method"], row["seed"]) for row in rows] == [("router", 0), ("router", 7)]
    expected = {"examples": 20, "missing": pytest.approx(0.05), "distinct": 19, "length": None, "source": None}
    assert rows[0] == {"method": "router", "seed": 0, **expected, "reason": "too long", "finding": None}


@pytest.fixture(scope="module")
def targeted(tmp_path_factory):
    methods = ("router", "rds", "random", "queries_only")
    folder = made(tmp_path_factory.mktemp("targeted") / "a", seeds=(7, 8, 9), methods=methods, targets=("t", "a"))
    return json.loads((folder / "results.json").read_text()), folder


def test_each_target_and_their_mean_are_outcomes_with_verdicts(targeted):
    rows = {(row["method"], row["outcome"]): row for row in targeted[0]["differences"]}
    outcomes = ["targets", "heldout:t", "heldout:a", "heldout", "mmlu"]
    assert list(dict.fromkeys(outcome for _, outcome in rows)) == outcomes
    for outcome in outcomes[:3]:
        found = rows["rds", outcome]
        assert found["difference"] == pytest.approx(-0.5 - 8 / 64)
        assert (found["low_questions"], found["high_questions"]) == (pytest.approx(-0.5), pytest.approx(-0.5))
        assert found["verdict"] == "better"
        assert rows["queries_only", outcome]["verdict"] is None
    for outcome, comparisons in (("targets", 2), ("heldout:t", 4)):  # of two methods, on both targets
        assert rows["rds", outcome]["p_holm"] == pytest.approx(comparisons * rows["rds", outcome]["p"])
    assert targeted[0]["headline"][0].startswith("Mean held-out loss of the targets against random: 1 of 2 selections")
    (queries, *_) = [row for row in targeted[0]["runs"] if row["method"] == "queries_only"]
    assert (queries["budget"], queries["examples"], queries["ratio"]) == ("queries", 4, 0.0)


def test_what_targets_took_is_a_table_and_the_nearest_are_beside_their_queries(targeted):
    numbers, folder = targeted
    taken = pl.read_parquet(folder / "tables/taken.parquet")
    assert taken.rows()[:2] == [
        ("rds", "ratio-0.5", 7, "t", "a", 4, pytest.approx(0.6)),
        ("rds", "ratio-0.5", 7, "t", "$b$ <&", 1, pytest.approx(0.1)),
    ]
    assert taken["examples"].sum() == 30
    assert numbers["targets"] == [{"name": name, "queries": 2, "heldout": 2} for name in ("t", "a")]
    assert [row["id"] for row in numbers["nearest"]] == ["04", "06", "08", "05", "07", "09"]
    assert numbers["nearest"][1] == {
        **{"method": "rds", "target": "t", "query": "t1", "query_text": "of t <&1", "similarity": pytest.approx(0.7)},
        **{"id": "06", "source": "a", "text": "? → " + "yes no " * 7},
    }


PAIRS = [("law", 1), ("law", 2), ("art", 1), ("bio", 1), ("eco", 1), ("geo", 1)]
ASKING = "choose the best answer to the following question about law from the list"
DEED = "what must a buyer of land do before the deed is valid in"


def test_the_most_frequent_shared_runs_are_on_the_page_by_source_and_question_set(tmp_path):
    """10 and 11 are of the source a, 12, 13 and 15 of the other. Five tasks ask by one phrase; 01 copies a question."""
    hits = [(f"{n:02}", f"mmlu_{task}", question, ASKING) for n in range(10, 14) for task, question in PAIRS]
    hits += [("01", "mmlu_law", 7, DEED), ("15", "mmlu_law", 8, ASKING)]
    found = pl.DataFrame(hits, ["id", "task", "question", "run"], orient="row")
    folder = made(tmp_path / "a", contaminated=found)
    page = (folder / "page.html").read_text()
    assert (
        "$b$ &lt;&amp;, mmlu_law: examples 3, questions 3; $b$ &lt;&amp;, mmlu_art: examples 2, questions 1; " in page
    )
    assert "; and 5 more" in page
    assert "a, mmlu_law: examples 1, questions 1<" in page
    assert page.index(ASKING) < page.index(DEED)


def test_a_pool_without_a_question_has_an_empty_table(tmp_path):
    schema = {"id": pl.String, "task": pl.String, "question": pl.Int64, "run": pl.String}
    folder = made(tmp_path / "a", contaminated=pl.DataFrame(schema=schema))
    assert pl.read_parquet(folder / "tables/shared_runs.parquet").height == 0
    assert "Words in common with test questions" in (folder / "page.html").read_text()
    assert "Words in common" not in (made(tmp_path / "b") / "page.html").read_text()
