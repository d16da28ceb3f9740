import polars as pl

from moesift.report.headline import NO_RANDOM, ONE_SEED, headline


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
    assert headline(*compared(*rows), ["base", "full"]) == [
        "Held-out loss against random: 2 of 4 selections significantly better, 1 significantly worse.",
        "At 10%, nll has the lowest held-out loss, 4.000; random: 4.200; difference -0.200 [-0.300, -0.100], "
        "significant.",
        "At 30%, no selection is below random, 4.200; the nearest is ifd, +0.100 [+0.050, +0.150], significant.",
    ]


def test_one_seed_claims_nothing():
    rows = [("nll", "tokens-9000", -0.2, None, None, None)]
    assert headline(*compared(*rows, seeds=1), ["base"]) == [
        "At 9,000 tokens, nll has the lowest held-out loss, 4.000; random: 4.200; difference -0.200 [-0.500, +0.500].",
        ONE_SEED,
    ]


def test_without_random_nothing_is_compared():
    summary, _ = compared(("nll", "ratio-0.1", None, None, None, None))
    assert headline(summary, compared()[1], ["base"]) == [NO_RANDOM]


def test_the_mean_over_targets_is_the_answer_and_single_targets_are_counted():
    better, not_significant = (-0.3, -0.1, "better"), (-0.3, 0.1, "not significant")
    parts = [
        compared(("rds", "ratio-0.1", -0.2, *better), ("full", "ratio-0.1", -9.0, *better), outcome="targets"),
        compared(("rds", "ratio-0.1", -0.5, *better), outcome="heldout:a"),
        compared(("rds", "ratio-0.1", 0.1, *not_significant), outcome="heldout:b"),
        compared(("rds", "ratio-0.1", 0.5, 0.4, 0.6, "worse")),
    ]
    summary, differences = (pl.concat(frames) for frames in zip(*parts, strict=True))
    assert headline(summary, differences, ["base", "full"]) == [
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
    assert headline(summary, differences, ["base"]) == [
        "At 10%, no selection is below random, 4.200; the nearest is rds, +0.100 [-0.500, +0.500].",
        ONE_SEED,
    ]
