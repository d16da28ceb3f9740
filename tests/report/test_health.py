import json
from functools import partial

import polars as pl
import pytest

from moesift.methods.likelihood import NO_HELP
from moesift.methods.routers import TRAINED_ON
from moesift.report.health import Health, findings, health
from moesift.select.table import NO_RESPONSE
from moesift.stages import score


def table(scores, tokens=None, sources=None, reasons=None):
    """Scores of examples whose lengths have nothing to do with them, and are of one source, unless given."""
    count = len(scores)
    lengths = tokens or [n * 7 % count + 1 for n in range(count)]
    columns = {
        "source": sources or ["a"] * count,
        "score": scores,
        "n_tokens": lengths,
        "reason": reasons or [None] * count,
    }
    return pl.DataFrame(columns, schema_overrides={"score": pl.Float64, "reason": pl.String})


TWENTY = [float(n) for n in range(20)]


def test_the_rank_correlation_with_the_length_is_spearmans():
    """1 - 6 Σ d² / (n (n² - 1)), of ranks that differ by one in two places: 1 - 12 / 7980."""
    tokens = [1, 2, 3, 5, 4, *range(6, 20), 1000]
    assert health(table(TWENTY, tokens)).length == pytest.approx(0.998496, abs=1e-6)
    assert health(table([-value for value in TWENTY], tokens)).length == pytest.approx(-0.998496, abs=1e-6)
    assert health(table([1.0, 1.0, 2.0, 3.0] * 5, [4, 4, 7, 9] * 5)).length == pytest.approx(1.0)  # ties share a rank
    assert health(table(TWENTY, [3] * 20)).length is None
    assert health(table(TWENTY[:19], [*range(1, 20)])).length is None  # too few


def test_the_source_is_what_separates_the_ranks():
    """Ranks 1 to 9 and 11 against 10 and 12 to 20: means 5.6 and 15.4, so 20 · 4.9² of the 20 · 5² of two halves."""
    sources = ["a"] * 9 + ["b", "a"] + ["b"] * 9
    assert health(table(TWENTY, sources=sources)).source == pytest.approx(480.2 / 500)
    assert health(table(TWENTY, sources=["a"] * 4 + ["b"] * 16)).source == pytest.approx(1.0)
    assert health(table([5.0] * 4 + [1.0] * 16, sources=["a"] * 4 + ["b"] * 16)).source == pytest.approx(1.0)
    assert health(table(TWENTY, sources=["a", "b"] * 10)).source == pytest.approx(20 * 0.5**2 / 500)
    assert health(table(TWENTY)).source is None
    assert health(table(TWENTY, sources=[str(n) for n in range(20)])).source is None  # an example each says nothing


def test_what_is_missing_and_what_is_alike():
    reasons = [NO_HELP] * 6 + [NO_RESPONSE] * 3 + [None]
    found = health(table([None] * 9 + [0.5], reasons=reasons))
    assert found == Health(10, pytest.approx(0.9), 1, None, None, NO_HELP)
    assert health(table([None] * 3, reasons=[NO_RESPONSE] * 3)) == Health(3, 1.0, 0, None, None, NO_RESPONSE)
    assert health(table(TWENTY)) == Health(20, 0.0, 20, pytest.approx(1 - 6 * 840 / 7980), None, None)


SOUND = Health(100, 0.2, 80, 0.3, 0.4, NO_RESPONSE)


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, []),
        ({"missing": 0.5, "length": 0.9, "source": 0.9, "distinct": 2}, []),
        ({"length": None, "source": None}, []),
        (
            {"missing": 0.83, "reason": NO_HELP},
            [f"83% of the pool has no score, most often: {NO_HELP}. Mostly the selector does not know its"],
        ),
        (
            {"missing": 1.0, "reason": TRAINED_ON},
            [f"100% of the pool has no score, most often: {TRAINED_ON}. Lower wa"],
        ),
        (
            {"missing": 0.6, "reason": "the chat template refuses the conversation: no system"},
            ["60% of the pool has no score, most often: the chat template refuses the conversation: no system. The"],
        ),
        ({"missing": 0.6, "reason": "of a plugin"}, ["60% of the pool has no score, most often: of a plugin."]),
        ({"distinct": 1}, ["All scores are the same: nothing is ranked"]),
        (
            {"length": 0.97},
            ["It is nearly the length of the response, longest first (rank correlation +0.97): compare"],
        ),
        ({"length": -0.91}, ["It is nearly the length of the response, shortest first (rank correlation -0.91): comp"]),
        ({"source": 0.94}, ["It is nearly the source, which explains 94% of what it could of the ranks"]),
        ({"length": 0.95, "source": 0.95}, ["It is nearly the length", "It is nearly the source"]),
    ],
)
def test_what_is_said_has_the_likely_reason(changes, begins):
    said = findings(SOUND._replace(**changes))
    assert len(said) == len(begins)
    assert all(sentence.startswith(begin) for sentence, begin in zip(said, begins, strict=True))


def test_a_template_that_the_model_does_not_know_is_named_in_the_log_of_the_score(tmp_path, capsys):
    """As a base model's: with the instruction in marks that it never saw, each response is less likely than without."""
    ids = [f"{n:02}" for n in range(30)]
    passes = {
        "pool/selector": {"source": ["a"] * 30},
        "tokens/selector": {"n_tokens": [5 + n for n in range(30)], "refused": pl.Series([None] * 30, dtype=pl.String)},
        "likelihood/selector": {
            "nll": [10.0 + n if n < 27 else 5.0 for n in range(30)],
            "nll_unconditional": [9.0 + n for n in range(30)],
        },
    }
    files = {name: str(tmp_path / f"{name.replace('/', '-')}.parquet") for name in passes}
    for name, columns in passes.items():
        pl.DataFrame({"id": ids, **columns}).write_parquet(files[name])
    run = partial(score.main, parameters="{}", files=json.dumps(files), out=tmp_path / "scores.parquet", seed=0)
    run(method="ifd")
    printed = capsys.readouterr().out
    assert (
        f"ifd: look at this: 90% of the pool has no score, most often: {NO_HELP}. Mostly the selector does not"
        in printed
    )
    for method in ("length", "random"):  # the length is the length, and nothing is nothing
        run(method=method)
        assert "look at this" not in capsys.readouterr().out
