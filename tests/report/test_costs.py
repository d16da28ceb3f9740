import polars as pl
import pytest

from moesift.report.costs import costs_of

READS = ["passes/selector/representation/*-of-2"]
METHODS = [
    {"label": "rds.a", "each": "rds", "jobs": [*READS, "scores/rds.a/seed-{seed}"]},
    {"label": "rds.b", "each": "rds", "jobs": [*READS, "scores/rds.b/seed-{seed}"]},
    {
        "label": "router",
        "each": None,
        "jobs": ["warmup/seed-{seed}/epoch-1", "warmup/seed-{seed}/epoch-2", "scores/router/seed-{seed}"],
    },
    {"label": "full", "each": None, "jobs": ["scores/full/seed-{seed}"]},
]
SECONDS = {
    "prepare": 1000.0,
    "passes/selector/representation/1-of-2": 10.0,
    "passes/selector/representation/2-of-2": 12.0,
    "passes/selector/representation/1-of-3": 1000.0,  # of an earlier run with more shards
    "passes/selector/representation_middle/1-of-2": 1000.0,
    "warmup/seed-1/epoch-1": 30.0,
    "warmup/seed-1/epoch-2": 31.0,
    "warmup/seed-1/on-a/epoch-1": 1000.0,
    "warmup/seed-1/epoch-3": 1000.0,  # of an earlier run with more epochs
    "scores/router/seed-10": 1000.0,
    **{f"scores/{label}/seed-1": 1.0 for label in ("rds.a", "rds.b", "router", "full")},
    "adapters/rds.a/ratio-0.1/seed-1": 4.0,
    "adapters/rds.b/ratio-0.1/seed-1": 6.0,
    "adapters/router/ratio-0.1/seed-1": 7.0,
}


def test_a_selection_costs_what_it_waits_for_and_targets_share_what_they_read():
    runs = [(label, "ratio-0.1", 1) for label in ("rds.a", "rds.b", "router")]
    assert costs_of(SECONDS, METHODS, runs).rows() == [
        ("rds", "ratio-0.1", 1, pytest.approx(10 + 12 + 1 + 1), 5.0, 2),
        ("router", "ratio-0.1", 1, pytest.approx(30 + 31 + 1), 7.0, 1),
    ]


def test_a_job_without_a_record_has_no_cost():
    assert costs_of(SECONDS, METHODS, [("router", "ratio-0.1", 2), ("full", "ratio-1", 1)]).rows() == [
        ("router", "ratio-0.1", 2, None, None, 1),
        ("full", "ratio-1", 1, 1.0, None, 1),
    ]
    assert costs_of({}, METHODS, []).schema["select"] == pl.Float64
