import polars as pl

from moesift.report.costs import SCHEMA
from moesift.report.headline import NO_RANDOM, ONE_SEED, headline

NO_COSTS = pl.DataFrame(schema=SCHEMA)


def compared(*rows, seeds=3, outcome="heldout"):
    """Rows of method, budget, difference, low, high, verdict; random has 4.2. As summary and differences."""
    names = ["method", "budget", "difference", "low", "high", "verdict"]
    types = dict.fromkeys(names, pl.String) | dict.fromkeys(names[2:5], pl.Float64)
    frame = pl.DataFrame(rows, types, orient="row").with_columns(
        outcome=pl.lit(outcome), seeds=pl.lit(seeds), low_questions=pl.lit(-0.5), high_questions=pl.lit(0.5)
    )
    random = frame.select("budget", "outcome", method=pl.lit("random"), value=pl.lit(4.2)).unique()
    return random, frame


def test_several_seeds_are_counted_and_the_best_of_the_smallest_and_the_largest_budget_named():
    rows = [
        ("nll", "ratio-0.1", -0.2, -0.3, -0.1, "better"),
        ("ifd", "ratio-0.1", -0.1, -0.3, 0.1, "not significant"),
        ("nll", "ratio-0.2", -0.2, -0.3, -0.1, "better"),
        ("ifd", "ratio-0.3", 0.1, 0.05, 0.15, "worse"),
        ("full", "ratio-0.3", -0.5, None, None, None),  # no selection
    ]
    assert headline(*compared(*rows), ["base", "full"], NO_COSTS) == [
        "Held-out loss against random: 2 of 4 selections significantly better, 1 significantly worse.",
        "At 10%, nll has the lowest held-out loss, 4.000; random: 4.200; difference -0.200 [-0.300, -0.100], "
        "significant.",
        "At 30%, no selection is below random, 4.200; the nearest is ifd, +0.100 [+0.050, +0.150], significant.",
    ]


def test_one_seed_claims_nothing():
    rows = [("nll", "tokens-9000", -0.2, None, None, None)]
    assert headline(*compared(*rows, seeds=1), ["base"], NO_COSTS) == [
        "At 9,000 tokens, nll has the lowest held-out loss, 4.000; random: 4.200; difference -0.200 [-0.500, +0.500].",
        ONE_SEED,
    ]


def test_without_random_nothing_is_compared():
    summary, _ = compared(("nll", "ratio-0.1", None, None, None, None))
    assert headline(summary, compared()[1], ["base"], NO_COSTS) == [NO_RANDOM]


def test_the_mean_over_targets_is_the_answer_and_single_targets_are_counted():
    better, not_significant = (-0.3, -0.1, "better"), (-0.3, 0.1, "not significant")
    parts = [
        compared(("rds", "ratio-0.1", -0.2, *better), ("full", "ratio-0.1", -9.0, *better), outcome="targets"),
        compared(("rds", "ratio-0.1", -0.5, *better), outcome="heldout:a"),
        compared(("rds", "ratio-0.1", 0.1, *not_significant), outcome="heldout:b"),
        compared(("rds", "ratio-0.1", 0.5, 0.4, 0.6, "worse")),
    ]
    summary, differences = (pl.concat(frames) for frames in zip(*parts, strict=True))
    assert headline(summary, differences, ["base", "full"], NO_COSTS) == [
        "Mean held-out loss of the targets against random: 1 of 1 selections significantly better, "
        "0 significantly worse.",
        "Single targets: 1 of 2 comparisons significantly better, 0 significantly worse.",
        "At 10%, rds has the lowest mean held-out loss of the targets, 4.000; random: 4.200; "
        "difference -0.200 [-0.300, -0.100], significant; below random on 1 of 2 targets.",
    ]


def test_of_one_target_nothing_is_said_twice():
    parts = [
        compared(("rds", "ratio-0.1", 0.1, None, None, None), seeds=1, outcome=o) for o in ("heldout:a", "heldout")
    ]
    summary, differences = (pl.concat(frames) for frames in zip(*parts, strict=True))
    assert headline(summary, differences, ["base"], NO_COSTS) == [
        "At 10%, no selection is below random, 4.200; the nearest is rds, +0.100 [-0.500, +0.500].",
        ONE_SEED,
    ]


def test_the_whole_pool_and_the_cost_are_said_where_they_are_known():
    summary, differences = compared(("rds", "ratio-0.1", -0.2, None, None, None), seeds=1)
    whole = [{"method": "full", "budget": "ratio-1", "value": 3.9}, {"method": "base", "budget": None, "value": 5.5}]
    rows = [summary.row(0, named=True) | one for one in whole]
    summary = pl.concat([summary, pl.DataFrame(rows, schema=summary.schema)])
    costs = [
        ("rds", "ratio-0.1", 0, 62.5, 9.2, 1),
        ("random", "ratio-0.1", 0, 1.0, 9.0, 1),
        ("full", "ratio-1", 0, 1.0, 85.4, 1),
    ]
    costs = pl.DataFrame(costs, schema=SCHEMA, orient="row")
    assert headline(summary, differences, ["base", "full"], costs)[1:-1] == [
        "Tuned on the whole pool: 3.900; not tuned: 5.500.",
        "To select by rds: 62 s; to train on that: 9 s; on the pool: 85 s.",
    ]
    assert len(headline(summary, differences, ["base", "full"], costs.head(2))) == 3
    each = costs.with_columns(adapters=pl.when(pl.col("method") == "rds").then(4).otherwise(1))
    said = headline(summary, differences, ["base", "full"], each)[-2]
    assert said == "To select by rds: 62 s; to train on one of its 4 parts: 9 s; on the pool: 85 s."
