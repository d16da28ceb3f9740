import json
import re
from decimal import Decimal

import polars as pl
import pytest

from moesift.data.keys import Rejected
from moesift.data.scores import brought, read_scores, require_scores
from moesift.errors import UserError

# As `prepare` gives them: an id may consist of digits alone, or read like a number with an exponent.
EXAMPLES = pl.DataFrame(
    {
        "id": ["0000000000000012", "12345678901234e5", "697479ad566dff9d", "ffff000011112222"],
        "source": ["alpaca", "alpaca", "dolly", "dolly"],
        "source_index": [0, 7, 0, 3],
    }
)
IDS = EXAMPLES["id"].to_list()


def written(folder, ending, rows):
    path = folder / f"scores{ending}"
    if ending == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif ending == ".csv":
        pl.DataFrame(rows, infer_schema_length=None, strict=False).write_csv(path)
    else:
        pl.DataFrame(rows, infer_schema_length=None, strict=False).write_parquet(path)
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_scores_are_found_by_id_or_by_source_and_row(tmp_path, ending):
    """In the pool's order; what is not in the pool is left out, and what has no row or an empty one has no score."""
    rows = [
        {"id": IDS[3], "reward": -1.5, "quality": 3},
        {"id": IDS[0], "reward": 0.25, "quality": 5},
        {"id": "0123456789abcdef", "reward": 9.0, "quality": 1},
        {"id": IDS[1], "reward": None, "quality": 0},
    ]
    path = written(tmp_path, ending, rows)
    assert read_scores(path, "reward", EXAMPLES).to_list() == [0.25, None, None, -1.5]
    assert read_scores(path, "quality", EXAMPLES).to_list() == [5.0, 0.0, None, 3.0]
    rows = [
        {"source": "dolly", "row": 0, "score": 2.0},
        {"source": "alpaca", "row": 7, "score": 1.0},
        {"source": "alpaca", "row": 3, "score": 7.0},
    ]
    assert read_scores(written(tmp_path, ending, rows), "score", EXAMPLES).to_list() == [None, 1.0, 2.0, None]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": IDS[0], "reward": 1}], "has no column score, only id, reward; name the one of the scores"),
        ([{"row": 0, "score": 1}], "needs a column id, or source and row, which say whose score it is; it has row, s"),
        ([{"id": IDS[0], "score": 1}] * 2, f"row 2 (id {IDS[0]}): a row before it has the same id; keep one"),
        (
            [{"source": "dolly", "row": 3, "score": 1}, {"source": "dolly", "row": 3, "score": 2}],
            "row 2 (source dolly, row 3): a row before it has the same source and row; keep one",
        ),
        ([{"id": IDS[0], "score": 1}, {"id": None, "score": 2}], "row 2: id should be a text, and something else is"),
        (
            [{"id": "0123456789abcdef", "score": 1}],
            "none of its 1 rows is of the pool, in which id is for ex",
        ),
        (
            [{"id": IDS[0], "score": float("nan")}],
            f"row 1 (id {IDS[0]}): score is nan, and should be a finite number",
        ),
        ([{"id": IDS[0], "score": float("inf")}], f"row 1 (id {IDS[0]}): score is inf, and should be a finite number"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, ending, rows, message):
    path = written(tmp_path, ending, rows)
    with pytest.raises(UserError, match=re.compile(re.escape(f"{path}: {message}"), re.IGNORECASE)) as error:
        read_scores(path, "score", EXAMPLES)
    assert "\n" not in str(error.value)


def test_a_score_is_a_number(tmp_path):
    rows = [{"id": IDS[0], "score": 1.5}, {"id": IDS[1], "score": "high"}]
    with pytest.raises(UserError, match=r"row 2 \(id 12345678901234e5\): score is 'high', and should be a finite"):
        read_scores(written(tmp_path, ".jsonl", rows), "score", EXAMPLES)
    with pytest.raises(UserError, match=r"row 2 \(id 12345678901234e5\): score is high, and should be a finite"):
        read_scores(written(tmp_path, ".csv", rows), "score", EXAMPLES)
    with pytest.raises(UserError, match=r"its column score is of type String, and scores are numbers"):
        read_scores(written(tmp_path, ".parquet", rows), "score", EXAMPLES)
    for value in ("1.5", True, [1], {"a": 1}):
        with pytest.raises(UserError, match=r"row 1 .*should be a finite number"):
            read_scores(written(tmp_path, ".jsonl", [{"id": IDS[0], "score": value}]), "score", EXAMPLES)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.csv: is not a file; `path` of the method `external` names"):
        read_scores(tmp_path / "nowhere.csv", "score", EXAMPLES)
    with pytest.raises(UserError, match=r"scores.tsv: a file of scores should end in one of .parquet, .csv, .jsonl"):
        read_scores(tmp_path / "scores.tsv", "score", EXAMPLES)
    for ending, problem in ((".csv", "cannot be read as CSV"), (".parquet", "cannot be read as parquet")):
        (tmp_path / f"empty{ending}").write_text("")
        with pytest.raises(UserError, match=problem):
            read_scores(tmp_path / f"empty{ending}", "score", EXAMPLES)
    (tmp_path / "broken.jsonl").write_text('{"id": "a", "score": 1}\n{"id": \n')
    with pytest.raises(UserError, match=r"broken.jsonl: line 2 is not JSON"):
        read_scores(tmp_path / "broken.jsonl", "score", EXAMPLES)


def test_a_row_brings_numbers_or_is_rejected():
    row = {"quality": 4, "reward": Decimal("0.5"), "text": "t", "none": None}
    assert brought(row, ["reward", "quality", "none", "missing"]) == {
        "score:reward": 0.5,
        "score:quality": 4.0,
        "score:none": None,
        "score:missing": None,
    }
    for value in ("4", True, float("nan"), float("inf"), [4], 10**400):
        with pytest.raises(Rejected, match=r"quality is .*, and `scores` takes a finite number, or null for none"):
            brought({"quality": value}, ["quality"])


def test_a_score_that_no_row_of_its_source_has_is_named():
    frame = pl.DataFrame({"source": ["a", "b"], "score:quality": [None, 1.0]})
    require_scores(frame.lazy(), {"a": [], "b": ["quality"]})
    with pytest.raises(UserError, match=r"data.sources: a: scores: no row that can be used has a number in quality"):
        require_scores(frame.lazy(), {"a": ["quality"], "b": ["quality"]})
