"""The page of the small comparison, made as the stage makes it."""

from collections.abc import Sequence

import polars as pl
from given.comparison import (
    CONFIG,
    DURATIONS,
    KEEP_SHARES,
    REJECTED,
    curves,
    dropped,
    evaluations,
    pool,
    questions,
    scores,
    selections,
)

from moesift.report.examples import of_rankings
from moesift.report.page import page, plots
from moesift.report.results import compare, results


def made(seeds: Sequence[int] = (0,), corrupted: bool = True, methods: Sequence[str] = ("router", "random")) -> str:
    """Return the page of these seeds and methods, of a pool with or without labelled corruptions."""
    config, examples = {**CONFIG, "seeds": list(seeds), "methods": list(methods)}, pool(corrupted)
    of_methods = pl.col("method").is_in(["base", *methods])
    given = [evaluation for evaluation in evaluations(seeds) if evaluation["method"] in ("base", *methods)]
    asked, scored = questions(seeds).filter(of_methods), scores(seeds).filter(of_methods)
    kept, left_out = (frame.filter(of_methods) for frame in (selections(seeds), dropped(seeds)))
    comparison = compare(methods, given, asked, examples, scored, kept)
    numbers = results(comparison, config, given, examples, REJECTED, scored, left_out, KEEP_SHARES)
    first = (scored.filter(seed=0), kept.filter(seed=0))
    drawn = plots(comparison, config, examples, *first, curves(), KEEP_SHARES)
    return page(numbers, drawn, of_rankings(*first, examples, methods), DURATIONS)
