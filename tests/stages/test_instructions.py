"""Of several answers to an instruction the best are kept, from rows to a selection."""

import json

import polars as pl

from moesift import config
from moesift.stages import instructions, prepare, select

CITIES = ["Berlin", "Cairo", "Lima", "Oslo", "Quito", "Rome", "Seoul", "Tunis"]


def selected(folder, budget, reject):
    settings = config.Select.model_construct(drop_top=0, quota=None, diversity=None)
    files = {name: folder / f"{name}.parquet" for name in ("scores", "pool", "out", "dropped")}
    asked = {"instructions": folder / "asked.parquet", "queries": []}
    select.main(**files, budget=budget, whole=False, reject=reject, select=settings, seed=0, **asked)
    best, dropped = (pl.read_parquet(files[name]) for name in ("out", "dropped"))
    return best["id"].to_list(), dict(dropped.select("id", "reason").iter_rows())


def test_eight_answers_to_each_of_a_thousand_instructions_become_one_of_each(tmp_path):
    """The 40 answers to five of them are held out. Of answer j to instruction i the score is (3 i + 5 j) % 8."""
    prompts = [f"Write a postcard number {n} from a city of your choice." for n in range(1005)]
    rows = [
        {"prompt": prompt, "completion": f"Greetings from {city}! This is card {n}, and the sun shines."}
        for n, prompt in enumerate(prompts)
        for city in CITIES
    ]
    (tmp_path / "cards.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = config.Source.model_validate({"name": "cards", "path": str(tmp_path / "cards.jsonl")})
    data = config.Data.model_construct(sources=[source], heldout=40, corrupt=0, corruptions=[], seed=0)
    files = {name: tmp_path / f"{name}.parquet" for name in ("pool", "heldout", "rejected")}
    prepare.main(data, **files)
    pool, heldout, rejected = (pl.read_parquet(path) for path in files.values())
    assert (pool.height, heldout.height, rejected.height) == (8000, 40, 0)
    asked = lambda frame: frame["messages"].list.first().struct.field("content")  # noqa: E731
    assert asked(heldout).n_unique() == 5
    assert not set(asked(pool)) & set(asked(heldout))

    instruction, answer = pl.col("source_index") // 8, pl.col("source_index") % 8
    score = ((3 * instruction + 5 * answer) % 8).cast(pl.Float64)
    scores = pool.select("id", "source", score=score, reason=pl.lit(None, pl.String))
    scores.write_parquet(tmp_path / "scores.parquet")
    instructions.main(files["pool"], tmp_path / "asked.parquet")
    best, dropped = selected(tmp_path, "ratio-0.125", None)
    chosen = pool.filter(pl.col("id").is_in(best))
    assert len(best) == 1000
    assert asked(chosen).n_unique() == 1000
    assert set(chosen.select(score.alias("score"))["score"]) == {7.0}
    assert len(dropped) == 7000
    assert set(dropped.values()) == {"beyond the best 1 of its instruction"}
    # A draw takes the best of each instruction too, of what the filter leaves.
    best, _ = selected(tmp_path, "ratio-0.1", 0.5)
    assert set(pool.filter(pl.col("id").is_in(best)).select(score.alias("score"))["score"]) == {7.0}
    assert asked(pool.filter(pl.col("id").is_in(best))).n_unique() == 800
