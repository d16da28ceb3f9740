import polars as pl
import pytest

from moesift.report.composition import (
    REASONS,
    groups,
    kept_of_groups,
    nearest,
    overlap,
    reason_counts,
    taken_by_target,
)


def pool(*sources):
    kinds = ["clean"] * (len(sources) - 1) + ["truncated"]
    return pl.DataFrame({"id": [f"{n}" for n in range(len(sources))], "source": sources, "corruption": kinds})


def grouped(frame, lengths):
    return groups(frame, frame.select("id", n_tokens=pl.Series(lengths)))


def test_small_sources_are_counted_together_and_groups_are_in_the_order_of_a_table():
    sources = ["big"] * 3 + [f"source {n:02}" for n in range(11)]
    found = grouped(pool(*sources), [1000, *range(1, 14)])
    assert found["source"].to_list() == ["big"] * 3 + [f"source {n:02}" for n in range(9)] + ["2 other sources"] * 2
    assert found.sort("source")["source"][0] == "big"
    assert found.sort("length")["length"].unique(maintain_order=True).to_list() == [
        *("1–3", "4–6", "7–9", "10–12", "13–1,000"),
    ]


def test_a_group_without_labels_is_left_out():
    assert grouped(pool("a").with_columns(corruption=pl.lit("clean")), [1]).columns == ["id", "source", "length"]


def test_the_kept_share_of_a_group_is_0_where_nothing_is_kept():
    examples = grouped(pool("x", "x", "y", "y"), [5, 5, 5, 9])
    kept = [("m", "ratio-0.5", 0, "0"), ("m", "ratio-0.5", 0, "1"), ("m", "ratio-0.5", 1, "2")]
    found = kept_of_groups(pl.DataFrame(kept, schema=["method", "budget", "seed", "id"], orient="row"), examples)
    assert found.filter(seed=0).select("by", "group", "examples", "kept").rows() == [
        ("source", "x", 2, 1.0),
        ("source", "y", 2, 0.0),
        ("length", "5", 3, pytest.approx(2 / 3)),
        ("length", "9", 1, 0.0),
        ("corruption", "clean", 3, pytest.approx(2 / 3)),
        ("corruption", "truncated", 1, 0.0),
    ]
    assert found.filter(seed=1, by="source")["kept"].to_list() == [0.0, 0.5]


def test_what_methods_keep_in_common_is_compared_for_the_same_target():
    """`own` selects for x and y by itself, `near` for x, `random` for none; `full` keeps everything."""
    chosen = {"own.x": "0123", "own.y": "4567", "near.x": "3489", "random": "0145", "full": "0123456789"}
    rows = [(label, "ratio-0.4", 0, id) for label, ids in chosen.items() for id in ids]
    rows += [("random", "ratio-0.4", 1, id) for id in "0123"] + [("own.x", "ratio-0.4", 1, id) for id in "0123"]
    methods = [
        {"label": label, "each": each, "targets": targets, "keeps": "pool" if label == "full" else "budget"}
        for label, each, targets in [
            ("own.x", "own", ["x"]),
            ("own.y", "own", ["y"]),
            ("near.x", "near", ["x"]),
            ("random", None, []),
            ("full", None, []),
        ]
    ]
    found = overlap(pl.DataFrame(rows, ["method", "budget", "seed", "id"], orient="row"), methods)
    assert found.rows() == [
        ("own", "own", "ratio-0.4", 1.0),
        ("own", "near", "ratio-0.4", 0.25),
        ("own", "random", "ratio-0.4", pytest.approx((0.5 + 0.5 + 1) / 3)),
        ("near", "own", "ratio-0.4", 0.25),
        ("near", "near", "ratio-0.4", 1.0),
        ("near", "random", "ratio-0.4", 0.25),
        ("random", "own", "ratio-0.4", pytest.approx((0.5 + 0.5 + 1) / 3)),
        ("random", "near", "ratio-0.4", 0.25),
        ("random", "random", "ratio-0.4", 1.0),
    ]


def targeted(*rows):
    """Rows of target, query, score, id, source, in the order of a selection."""
    frame = pl.DataFrame(rows, ["target", "query", "score", "id", "source"], orient="row")
    return frame.with_columns(method=pl.lit("rds"), budget=pl.lit("ratio-0.1"), seed=pl.lit(0))


TAKEN = targeted(
    ("z", "q0", 0.5, "0", "small"),
    ("a", None, 0.1, "1", "small"),
    ("z", "q1", 0.7, "2", "big"),
    ("z", "q0", 0.1, "3", "big"),
    ("z", "q1", 0.6, "4", "big"),
)


def test_what_targets_took_is_counted_by_source():
    assert taken_by_target(TAKEN).rows() == [
        ("rds", "ratio-0.1", 0, "z", "big", 3, pytest.approx(1.4 / 3)),
        ("rds", "ratio-0.1", 0, "z", "small", 1, 0.5),
        ("rds", "ratio-0.1", 0, "a", "small", 1, 0.1),
    ]


def test_the_nearest_examples_are_beside_their_queries_and_long_ones_cut():
    def said(**texts):
        turns = [
            [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in texts.values()
        ]
        return pl.DataFrame({"id": list(texts), "messages": turns})

    examples = said(**{"0": "no\x00 \n\ttabs", "1": "one", "2": "é" * 301, "3": "three", "4": "f" * 300})
    queries = pl.concat([said(q0="zero", q1="one").with_columns(target=pl.lit(name)) for name in ("a", "z")])
    assert nearest(TAKEN, examples, queries).rows() == [
        ("rds", "z", "q1", "one → yes", "2", "big", "é" * 300 + "… → yes", 0.7),
        ("rds", "z", "q1", "one → yes", "4", "big", "f" * 300 + " → yes", 0.6),
        ("rds", "z", "q0", "zero → yes", "0", "small", "no tabs → yes", 0.5),
        ("rds", "a", None, None, "1", "small", "one → yes", 0.1),
    ]


def test_reasons_are_counted_by_kind_as_the_mean_over_seeds():
    reasons = ["near-duplicate of 0123456789abcdef", "near-duplicate of fedcba9876543210", "in the lowest 0.5 of all"]
    shares = [f"shares a run of words with question {n} of mmlu: a b {n}" for n in (7, 41)]
    frame = pl.DataFrame({"method": "m", "reason": [*reasons, *shares] * 2})
    assert [(row["reason"], row["count"]) for row in reason_counts(frame, ["method"], seeds=2)] == [
        ("near-duplicate of …", 2.0),
        ("shares a run of words with question … of mmlu", 2.0),
        ("in the lowest … of all", 1.0),
    ]


def test_of_many_reasons_the_most_frequent_are_kept():
    reasons = ["seen twice"] * 2 + [f"reason {chr(97 + n)}" for n in range(25)]
    counts = reason_counts(pl.DataFrame({"source": "a", "reason": reasons}), ["source"])
    assert (len(counts), counts[0]) == (REASONS, {"source": "a", "reason": "seen twice", "count": 2.0})
