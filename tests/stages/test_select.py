import numpy as np
import polars as pl
import pytest

from moesift import config
from moesift.errors import UserError
from moesift.stages import (
    contaminated,
    instructions,
    near_duplicates,
    select,
    select_queries,
    semantic_duplicates,
)


def talk(text, answer="yes"):
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


@pytest.fixture
def folder(tmp_path):
    """Ten examples of two sources, the lowest id scored best; 03 has no score and no vector."""
    ids = [f"{n:02}" for n in range(10)]
    words = "one two three four five six seven eight nine ten eleven twelve"
    texts = [f"{words} {words}", f"{words} {words} more", *(f"text number {n}" for n in range(8))]
    sources = ["a"] * 6 + ["b"] * 4
    pool = pl.DataFrame({"id": ids, "source": sources, "source_index": range(10), "messages": map(talk, texts)})
    pool.with_columns(finished=pl.col("source_index") != 1).write_parquet(tmp_path / "pool.parquet")
    score = [None if n == 3 else 10.0 - n for n in range(10)]
    reason = ["too long" if n == 3 else None for n in range(10)]
    pl.DataFrame({"id": ids, "source": sources, "score": score, "reason": reason}).write_parquet(
        tmp_path / "scores.parquet"
    )
    vectors = [None if n == 3 else [float(n == 8), 0.0] for n in range(10)]  # 08 is unlike all others
    frame = pl.DataFrame({"id": ids, "weighted": vectors}, {"id": pl.String, "weighted": pl.List(pl.Float16)})
    frame.write_parquet(tmp_path / "vectors.parquet")
    return tmp_path


def selected(folder, budget="ratio-0.3", reject=None, seed=0, whole=False, **given):
    """Run the stage; settings are keys of `select`, paths are files in the folder."""
    settings = {"drop_top": 0, "quota": None, "diversity": None}
    settings |= {name: given.pop(name) for name in list(given) if name in settings}
    select.main(
        scores=folder / "scores.parquet",
        pool=folder / "pool.parquet",
        budget=budget,
        whole=whole,
        reject=reject,
        select=config.Select.model_construct(**settings),
        out=folder / "best.parquet",
        dropped=folder / "dropped.parquet",
        seed=seed,
        queries=given.pop("queries", []),
        **{name: folder / path if isinstance(path, str) else path for name, path in given.items()},
    )
    best, dropped = pl.read_parquet(folder / "best.parquet"), pl.read_parquet(folder / "dropped.parquet")
    assert best.columns[:7] == ["id", "rank", "score", "source", "source_index", "messages", "finished"]
    assert best["finished"].to_list() == (best["source_index"] != 1).to_list()
    assert best["rank"].to_list() == list(range(1, best.height + 1))
    return best["id"].to_list(), dict(dropped.select("id", "reason").iter_rows())


def test_without_more_the_best_are_kept(folder):
    assert selected(folder) == (["00", "01", "02"], {"03": "too long"})


def test_equal_scores_at_the_end_are_said(folder, capsys):
    scores = pl.read_parquet(folder / "scores.parquet").with_columns(
        score=pl.when(pl.col("id").is_in(["02", "04", "05"])).then(7.5).otherwise("score")
    )
    scores.write_parquet(folder / "scores.parquet")
    assert selected(folder)[0] == ["00", "01", "02"]
    assert "2 more have the score of the last one: among these the id decides\n" in capsys.readouterr().out
    selected(folder, "ratio-0.2")
    assert "the id decides" not in capsys.readouterr().out


def test_ids_of_hexadecimal_digits_are_chosen_as_any_other(folder):
    """They are numbers meanwhile. The draws are those that a shuffled list of the sorted ids gives."""
    pairs = pl.DataFrame({"id": ["00"], "other": ["01"], "similarity": [0.9]})
    hits = pl.DataFrame({"id": ["02"], "task": ["quiz"], "question": [7], "run": ["one two"]})

    def chosen():
        pairs.write_parquet(folder / "pairs.parquet")
        hits.write_parquet(folder / "found.parquet")
        yield selected(folder, reject=0.5)
        yield selected(folder, reject=0.5, seed=1)
        yield selected(folder, near_duplicates="pairs.parquet", contaminated="found.parquet")
        yield selected(folder, "ratio-0.4", quota="equal", diversity=2, representation="vectors.parquet")

    plain = list(chosen())
    assert [best for best, _ in plain] == [
        ["02", "01", "00"],
        ["02", "06", "07"],
        ["00", "04", "05"],
        ["00", "01", "06", "08"],
    ]
    long = {f"{n:02}": f"f{n:015x}" for n in range(10)}
    for name in ("pool", "scores", "vectors"):
        frame = pl.read_parquet(folder / f"{name}.parquet")
        frame.with_columns(pl.col("id").replace(long)).write_parquet(folder / f"{name}.parquet")
    pairs, hits = (frame.with_columns(pl.col("^id|other$").replace(long)) for frame in (pairs, hits))
    for (best, dropped), (few, why) in zip(chosen(), plain, strict=True):
        assert best == [long[id] for id in few]
        assert dropped == {long[id]: reason.replace("of 00", f"of {long['00']}") for id, reason in why.items()}


def test_a_filter_draws_what_it_keeps(folder):
    best, dropped = selected(folder, reject=0.5)
    assert dropped == {"03": "too long"} | dict.fromkeys(
        ["04", "05", "08", "09"], "in the lowest 0.5 of its source"
    )  # 03 is one of three
    draws = [selected(folder, reject=0.5, seed=seed)[0] for seed in range(6)]
    assert draws[0] == best
    assert len({tuple(draw) for draw in draws}) > 3
    assert set().union(*draws) <= {"00", "01", "02", "06", "07"}


def test_which_are_the_lowest_depends_on_the_scores_alone(folder):
    """Of a 00 to 02 are above the lowest half, of b 06 and 07, whatever the other filters drop."""
    pl.DataFrame({"id": ["06"], "task": ["quiz"], "question": [7], "run": ["one two"]}).write_parquet(
        folder / "found.parquet"
    )
    pl.DataFrame({"id": ["01"], "other": ["02"], "similarity": [0.9]}).write_parquet(folder / "pairs.parquet")
    lowest = dict.fromkeys(["04", "05", "08", "09"], "in the lowest 0.5 of its source")
    others = {"drop_top": 0.13, "contaminated": "found.parquet", "near_duplicates": "pairs.parquet"}
    for given, kept in (
        ({"drop_top": 0.13}, {"01", "02", "06", "07"}),
        ({"near_duplicates": "pairs.parquet"}, {"00", "01", "06", "07"}),
        ({"contaminated": "found.parquet"}, {"00", "01", "02", "07"}),
        (others, {"01", "07"}),
    ):
        best, dropped = selected(folder, f"ratio-{len(kept) / 10}", reject=0.5, **given)
        assert set(best) == kept
        assert lowest.items() <= dropped.items()


def test_no_example_goes_for_the_sake_of_one_that_is_rejected(folder):
    """04 of source a is rejected, and its near-duplicate 06 of source b, with a lower score, is not."""
    pl.DataFrame({"id": ["04"], "other": ["06"], "similarity": [0.9]}).write_parquet(folder / "pairs.parquet")
    best = selected(folder, "ratio-0.5", reject=0.5, near_duplicates="pairs.parquet")[0]
    assert set(best) == {"00", "01", "02", "06", "07"}


def test_what_repeats_a_question_is_left_out(folder):
    hits = {"id": ["00", "00"], "task": ["quiz", "quiz"], "question": [7, 8], "run": ["one two", "two three"]}
    pl.DataFrame(hits).write_parquet(folder / "found.parquet")
    best, dropped = selected(folder, contaminated="found.parquet")
    assert best == ["01", "02", "04"]
    assert dropped["00"] == "shares a run of words with question 7 of quiz: one two"


def test_near_duplicates_of_the_pool(folder):
    near_duplicates.main(pool=folder / "pool.parquet", out=folder / "pairs.parquet", threshold=0.7)
    assert pl.read_parquet(folder / "pairs.parquet").select("id", "other").rows() == [("00", "01")]
    best, dropped = selected(folder, near_duplicates="pairs.parquet")
    assert best == ["00", "02", "04"]
    assert dropped == {"03": "too long", "01": "near-duplicate of 00: Jaccard 0.8"}


def test_near_duplicates_by_what_the_selector_makes_of_them(folder):
    """00 and 01 point the same way, 02 is 10 degrees away from them (cosine 0.985), 04 20; 03 has no representation."""
    degrees = [0, 0, 10, None, 20, 60, 90, 120, 150, 180]
    weighted = [None if d is None else [np.cos(np.radians(d)), np.sin(np.radians(d))] for d in degrees]
    schema = {"weighted": pl.List(pl.Float16)}
    rows = {"id": [f"{n:02}" for n in range(10)], "weighted": weighted}
    pl.DataFrame(rows, schema_overrides=schema, strict=False).write_parquet(folder / "representation.parquet")
    semantic_duplicates.main(
        pool=folder / "pool.parquet",
        representation=folder / "representation.parquet",
        out=folder / "pairs.parquet",
        threshold=0.98,
        threads=1,
    )
    pairs = pl.read_parquet(folder / "pairs.parquet")
    assert pairs.select("id", "other").rows() == [("00", "01"), ("00", "02"), ("01", "02"), ("02", "04")]
    assert pairs["similarity"].to_list() == pytest.approx([1.0, 0.9848, 0.9848, 0.9848], abs=1e-3)
    best, dropped = selected(folder, semantic_duplicates="pairs.parquet")
    assert best == ["00", "04", "05"]  # 04 is near to 02 alone, which is not kept
    assert dropped.pop("02").startswith("near-duplicate of 00: cosine 0.98")
    assert dropped == {"03": "too long", "01": "near-duplicate of 00: cosine 1.0"}
    words = pl.DataFrame({"id": ["05"], "other": ["00"], "similarity": [0.75]})
    words.write_parquet(folder / "words.parquet")
    best, dropped = selected(folder, semantic_duplicates="pairs.parquet", near_duplicates="words.parquet")
    assert best == ["00", "04", "06"]
    assert dropped["05"] == "near-duplicate of 00: Jaccard 0.75"


@pytest.fixture
def answers(folder):
    """00, 01 and 02 answer one instruction, 04 and 05 another one, and each of the others one of its own."""
    talks = [talk(asked, f"answer {n}") for n, asked in enumerate("AAADBBEFGH")]
    pool = pl.read_parquet(folder / "pool.parquet").with_columns(messages=pl.Series(talks))
    pool.write_parquet(folder / "pool.parquet")
    instructions.main(folder / "pool.parquet", folder / "asked.parquet")
    return lambda *words, **given: selected(folder, *words, instructions="asked.parquet", **given)


def test_of_an_instruction_the_best_are_kept_whatever_else_is_asked_for(folder, answers):
    extra = "beyond the best 1 of its instruction"
    assert answers() == (["00", "04", "06"], {"03": "too long", "01": extra, "02": extra, "05": extra})
    assert answers(per_instruction=2)[0] == ["00", "01", "04"]
    assert answers(drop_top=0.12)[0] == ["01", "04", "06"]  # 00 goes, and the next answer takes its place
    best, dropped = answers(reject=0.5)  # 04 and 05 are among the lowest: of the rest 00, 06 and 07 are drawn
    assert set(best) == {"00", "06", "07"}
    assert (dropped["01"], dropped["04"]) == (extra, "in the lowest 0.5 of its source")
    assert answers("ratio-0.4", quota="equal")[0] == ["00", "04", "06", "07"]
    assert answers(diversity=2, representation="vectors.parquet")[0] == ["00", "04", "08"]  # of the six best
    pl.DataFrame({"id": [f"{n:02}" for n in range(10)], "n_tokens": [5] * 10}).write_parquet(folder / "tokens.parquet")
    assert answers("tokens-16", tokens="tokens.parquet")[0] == ["00", "04", "06"]
    # 06 is near to 00, which is kept, and 04 to 01, which is not.
    pairs = pl.DataFrame({"id": ["00", "01"], "other": ["06", "04"], "similarity": [0.9, 0.9]})
    pairs.write_parquet(folder / "pairs.parquet")
    assert answers(near_duplicates="pairs.parquet")[0] == ["00", "04", "07"]
    with pytest.raises(UserError, match=r"only 6 are left \(3 x beyond the best 1 of its instruction; 1 x too long\)"):
        answers("ratio-0.7")


def test_quotas_bands_and_diversity_together(folder):
    best, dropped = selected(folder, "ratio-0.4", drop_top=0.12, quota="equal")
    assert best == ["01", "02", "06", "07"]
    assert dropped == {
        "03": "too long",
        "00": "in the top 0.12 of the scores",
        "04": "the quota of a, 2, is full",
        "05": "the quota of a, 2, is full",
    }
    best, dropped = selected(
        folder, "ratio-0.4", quota={"a": 0.5, "b": 0.5}, diversity=2, representation="vectors.parquet"
    )
    assert best == ["00", "01", "06", "08"]  # of b the best, 06, and the one most unlike it
    assert dropped["07"] == "too near to what is kept"


def test_a_source_whose_quota_is_nothing_needs_no_diversity(folder):
    """One of ten: the share of a is 0.6, that of b 0.4."""
    best, _ = selected(folder, "ratio-0.1", quota="proportional", diversity=2, representation="vectors.parquet")
    assert best == ["00"]


def test_every_question_of_the_tasks_is_looked_for(folder):
    """A task file of lm-eval's on local data."""
    (folder / "tasks").mkdir()
    rows = ["who is one two three four five six seven?", "one two three four five six seven eight nine ten eleven?"]
    pl.DataFrame({"q": rows, "a": ["Ann", "Bea"]}).write_ndjson(folder / "quiz.jsonl")
    (folder / "tasks" / "quiz.yaml").write_text(
        f"task: quiz\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder}/quiz.jsonl}}}}\n"
        "output_type: generate_until\ntest_split: test\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
        "metric_list: [{metric: exact_match}]\n"
    )
    again = "ten eleven twelve one two three four five six seven, and so on?"  # as the text of 00 and 01, said twice
    query = pl.DataFrame({"source": ["mine"], "source_index": [7], "messages": [talk(again)]})
    query.write_parquet(folder / "queries.parquet")
    contaminated.main(
        pool=folder / "pool.parquet",
        out=folder / "found.parquet",
        tasks_folder=folder / "tasks",
        words=10,
        tasks=["quiz"],
        targets=[folder / "queries.parquet"],
    )
    found = pl.read_parquet(folder / "found.parquet")
    asked = [("quiz", 1), ("mine", 7)]
    assert found.select("id", "task", "question").rows() == [(id, *which) for id in ("00", "01") for which in asked]
    assert found["run"][0] == "one two three four five six seven eight nine ten"


def test_budgets_in_tokens_and_the_whole_pool(folder):
    tokens = pl.DataFrame({"id": [f"{n:02}" for n in range(10)], "n_tokens": [5] * 10})
    tokens.write_parquet(folder / "tokens.parquet")
    assert selected(folder, "tokens-14", tokens="tokens.parquet")[0] == ["00", "01"]
    assert selected(folder, "tokens-0.31", tokens="tokens.parquet")[0] == ["00", "01", "02"]
    assert selected(folder, "ratio-1", whole=True)[0] == [f"{n:02}" for n in range(10) if n != 3]


def test_what_costs_no_token_is_not_kept(folder):
    """Of the response of 01 the target reads nothing; its place goes to the next one that has tokens."""
    tokens = pl.DataFrame({"id": [f"{n:02}" for n in range(10)], "n_tokens": [5, 0] + [5] * 8})
    tokens.write_parquet(folder / "tokens.parquet")
    kept, dropped = selected(folder, "tokens-14", tokens="tokens.parquet")
    assert kept == ["00", "02"]
    assert dropped["01"] == "no response token of the target within data.max_length"


def test_what_queries_took_is_kept_in_their_order_with_the_query_that_brought_it(folder):
    turns = [9, 1, 0, None, *range(2, 8)]
    brought = {"turn": turns, "target": ["x"] * 10, "query": [f"q{n}" for n in range(10)]}
    scores = pl.read_parquet(folder / "scores.parquet").with_columns(
        pl.Series(name, of) for name, of in brought.items()
    )
    scores.sort("turn", nulls_last=True).write_parquet(folder / "scores.parquet")
    selected(folder)
    best = pl.read_parquet(folder / "best.parquet")
    assert best.select("id", "rank", "target", "query").rows() == [
        ("02", 1, "x", "q2"),
        ("01", 2, "x", "q1"),
        ("04", 3, "x", "q4"),
    ]


def test_queries_are_added_behind_what_is_kept(folder):
    pool = pl.read_parquet(folder / "pool.parquet")
    for name, rows in (("x", pool[:3]), ("y", pool[2:5])):
        own = rows.with_columns(id=pl.format("q{}", "source_index"), source=pl.lit(name))
        own.write_parquet(folder / f"{name}.parquet")
    queries = [folder / "x.parquet", folder / "y.parquet"]
    assert selected(folder, "ratio-0.2", queries=queries)[0] == ["00", "01", "q0", "q1", "q2", "q3", "q4"]
    assert selected(folder, "ratio-0.2", queries=queries, most=1)[0] == ["00", "01", "q0", "q2"]
    best = pl.read_parquet(folder / "best.parquet")
    assert best.select("source", "score").rows() == [("a", 10.0), ("a", 9.0), ("x", None), ("y", None)]
    assert best["messages"].to_list()[2:] == [pool["messages"][0].to_list(), pool["messages"][2].to_list()]


def test_the_queries_alone_are_a_selection_as_any_other(folder):
    pool = pl.read_parquet(folder / "pool.parquet")
    pool[:3].write_parquet(folder / "one.parquet")
    pool[2:4].write_parquet(folder / "two.parquet")
    queries = [folder / "one.parquet", folder / "two.parquet"]
    select_queries.main(queries, folder / "best.parquet", folder / "dropped.parquet")
    best = pl.read_parquet(folder / "best.parquet")
    assert best.select("id", "rank", "score").rows() == [(f"0{n}", n + 1, None) for n in range(4)]
    assert best.columns == ["id", "rank", "score", "source", "source_index", "messages", "finished"]
    select_queries.main(queries, folder / "few.parquet", folder / "dropped.parquet", most=2)
    assert pl.read_parquet(folder / "few.parquet")["id"].to_list() == ["00", "01", "02", "03"]
    assert pl.read_parquet(folder / "dropped.parquet").schema == {
        "id": pl.String,
        "score": pl.Float64,
        "reason": pl.String,
    }
