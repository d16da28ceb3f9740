import polars as pl
import pytest
from moesift.report.durations import RECORD, by_rule


def jobs(*rows):
    return pl.DataFrame(rows, schema=RECORD, orient="row")


def test_jobs_are_added_up_by_rule_the_longest_first():
    found = by_rule(
        jobs(
            (10.0, 512.0, 9.0, "score", "{'tmpdir': '/tmp', 'gpu': 0}"),
            (1800.0, 2048.0, 900.0, "train", "{'gpu': 2, '_cores': 1}"),
            (3600.0, 1024.0, 100.0, "train", "{'gpu': 4, '_cores': 1}"),
            (0.5, None, None, "score", "{'_cores': 1}"),
        )
    )
    assert found.columns == ["rule", "jobs", "seconds", "median_seconds", "peak_gib", "cpu_seconds", "gpu_hours"]
    assert found.rows() == [
        ("train", 2, 5400.0, 2700.0, 2.0, 1000.0, pytest.approx(1 + 4)),
        ("score", 2, 10.5, 5.25, 0.5, 9.0, 0.0),
    ]


def test_a_record_that_is_not_extended_names_no_rule_and_no_gpus():
    assert by_rule(jobs((10.0, 512.0, 9.0, None, None))).rows() == [(None, 1, 10.0, 10.0, 0.5, 9.0, None)]


def test_without_records_there_is_nothing():
    assert by_rule(jobs()).is_empty()
