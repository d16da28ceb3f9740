import sys

import numpy as np
import polars as pl

from moesift.data.corruption import corrupt
from moesift.data.pool import EXAMPLE, deduplicated
from moesift.report.metrics import auroc
from moesift.stages import study_case


def pool():
    rows = [
        (
            "ab"[n % 2],
            n,
            [{"role": "user", "content": f"why {n}"}, {"role": "assistant", "content": f"one two three {n}"}],
            [],
            "clean",
            None,
            True,
        )
        for n in range(120)
    ]
    examples = pl.DataFrame(rows, schema=EXAMPLE, orient="row")
    spoilt = corrupt(examples, 0.5, ["truncated", "shuffled_words", "perturbed_instruction"], seed=0)
    return deduplicated(spoilt)[0]


def test_a_case_joins_what_is_known_of_each_example(tmp_path, monkeypatch):
    given = pool()
    spoilt = (given["corruption"] != "clean").to_numpy()
    known = given.select("id").with_columns(n_tokens=pl.lit(4))
    given.write_parquet(tmp_path / "pool.parquet")
    rng = np.random.default_rng(0)
    # The first feature tells what is spoilt, whatever the kind; of one example nothing was measured.
    features = np.column_stack([3.0 * spoilt + rng.normal(size=len(given)), rng.normal(size=(len(given), 3))])
    inputs = [None, *features.tolist()[1:]]
    known.with_columns(inputs=pl.Series(inputs, dtype=pl.List(pl.Float32))).sample(
        fraction=1, shuffle=True, seed=1
    ).write_parquet(tmp_path / "inputs.parquet")
    known.with_columns(nats=pl.Series(np.arange(len(given), dtype=float))).write_parquet(tmp_path / "reference.parquet")
    for method in ("nll", "router"):
        scores = known.with_columns(
            score=pl.Series(range(len(given)), dtype=pl.Float64), layer_scores=pl.lit([1.0, 2.0])
        )
        scores.sample(fraction=1, shuffle=True, seed=2).write_parquet(tmp_path / f"{method}.parquet")
    words = ["--pool", tmp_path / "pool.parquet", "--scores", tmp_path / "nll.parquet", tmp_path / "router.parquet"]
    words += ["--inputs", tmp_path / "inputs.parquet", "inputs", "--reference", tmp_path / "reference.parquet"]
    words += ["--kinds", "truncated", "shuffled_words", "--control", "perturbed_instruction", "--seed", "0"]
    words += ["--threads", "1", "--out", tmp_path / "examples.parquet"]
    monkeypatch.setattr(sys, "argv", ["study_case", *map(str, words)])
    study_case.main()

    found = pl.read_parquet(tmp_path / "examples.parquet")
    assert found["id"].to_list() == given["id"].to_list()
    assert found["nll"].to_list() == [float(n) for n in range(len(given))]
    assert found["layer_scores"][0].to_list() == [1.0, 2.0]
    clean = found.filter(pl.col("kind") == "clean")
    assert clean["applicable"][0].to_list() == ["truncated", "shuffled_words", "perturbed_instruction"]
    # A fifth of the clean examples of a source at either end of the reference's loss, which rises with the row.
    for source in ("a", "b"):
        controls = clean.filter(pl.col("source") == source)["control"].to_list()
        fifth = len(controls) // 5
        assert controls[:fifth] == ["easy"] * fifth
        assert controls[-fifth:] == ["hard"] * fifth
        assert controls[fifth:-fifth].count(None) >= len(controls) - 2 * fifth - 2
    assert found.filter(pl.col("kind") != "clean")["control"].null_count() == spoilt.sum()
    # The probe finds a kind that it was not told of by the feature that it shares with the others.
    by_kind = found.with_columns(of_kind=pl.col("probe_kind").list.get(0)).filter(pl.col("of_kind").is_finite())
    area = auroc(
        by_kind.filter(pl.col("kind") == "clean")["of_kind"].to_numpy(),
        by_kind.filter(pl.col("kind") == "truncated")["of_kind"].to_numpy(),
    )
    assert area.value > 0.9
    assert found["probe_source"].null_count() == 1
