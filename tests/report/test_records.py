import polars as pl

from moesift.report.records import REASONS, RECORD, durations, reason_counts


def test_reasons_are_counted_by_kind_as_the_mean_over_seeds():
    reasons = [
        "near-duplicate of 0123456789abcdef",
        "near-duplicate of fedcba9876543210",
        "in the lowest 0.5 of its source",
    ]
    shares = [f"shares a run of words with question {n} of mmlu: a b {n}" for n in (7, 41)]
    frame = pl.DataFrame({"method": "m", "reason": [*reasons, *shares] * 2})
    assert [(row["reason"], row["count"]) for row in reason_counts(frame, ["method"], seeds=2)] == [
        ("near-duplicate of …", 2.0),
        ("shares a run of words with question … of mmlu", 2.0),
        ("in the lowest … of its source", 1.0),
    ]


def test_of_many_reasons_the_most_frequent_are_kept():
    reasons = ["seen twice"] * 2 + [f"reason {chr(97 + n)}" for n in range(25)]
    counts = reason_counts(pl.DataFrame({"source": "a", "reason": reasons}), ["source"])
    assert (len(counts), counts[0]) == (REASONS, {"source": "a", "reason": "seen twice", "count": 2.0})


def test_jobs_are_added_up_by_rule_the_longest_first():
    rows = [
        (10.0, 512.0, "score"),
        (1800.0, 2048.0, "train"),
        (3600.0, 1024.0, "train"),
        (0.5, None, "score"),
        (9.0, None, None),
    ]
    assert durations(pl.DataFrame(rows, schema=RECORD, orient="row")).rows() == [
        ("train", 2, 5400.0, 2.0),
        ("score", 2, 10.5, 0.5),
        (None, 1, 9.0, None),
    ]
    assert durations(pl.DataFrame(schema=RECORD)).is_empty()
