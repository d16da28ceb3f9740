import json
from pathlib import Path

import polars as pl
import pytest

from moesift import config, flags
from moesift.errors import UserError


def stage(
    out: Path,
    pool: flags.Parquet,
    files: list[Path],
    ratio: float | None,
    fast: bool,
    select: config.Select,
    name: str,
    more: Path | None = None,
) -> None:
    """Do something.

    Args:
        out: where to write,
            in two lines.
        ratio: a share.
    """


@pytest.fixture
def pool(tmp_path):
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "pool.parquet")
    return str(tmp_path / "pool.parquet")


def words(pool, **changes):
    given = {"out": "2024", "pool": pool, "ratio": "null", "select": '{"drop_top": 0.1}', "name": "[a", **changes}
    return [word for name, value in given.items() for word in (f"--{name}", value)] + ["--files", "x", "y z"]


def test_each_flag_is_read_by_its_annotation(pool):
    read = flags.parsed(stage, words(pool))
    assert read["out"] == Path("2024")
    assert read["pool"] == Path(pool)
    assert read["files"] == [Path("x"), Path("y z")]
    assert (read["ratio"], read["fast"], read["name"], read["more"]) == (None, False, "[a", None)
    assert read["select"].drop_top == 0.1
    read = flags.parsed(stage, [*words(pool, ratio="0.5"), "--fast", "--more", "m"])
    assert (read["ratio"], read["fast"], read["more"]) == (0.5, True, Path("m"))


@pytest.mark.parametrize("name", ["2024", "null", "true", "2024-01-01", "a: b", "'a'", "plain", "\U0001f40d"])
def test_text_and_paths_stay_what_they_are(pool, name):
    assert flags.parsed(stage, words(pool, name=name, out=name)) | {"name": name, "out": Path(name)} == flags.parsed(
        stage, words(pool, name=name, out=name)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": "many"}, "argument --ratio: many: Input should be a valid number"),
        ({"select": '{"drop_top": 1.5}'}, "1.5 is not in [0, 1)"),
        ({"select": '{"drop": 1}'}, "Select has no key drop"),
        ({"select": "{a"}, "is neither JSON nor YAML"),
    ],
)
def test_a_wrong_value_names_its_flag(pool, capsys, changes, message):
    with pytest.raises(SystemExit):
        flags.parsed(stage, words(pool, **changes))
    assert message in capsys.readouterr().err


def test_a_flag_without_a_default_is_required(pool, capsys):
    with pytest.raises(SystemExit):
        flags.parsed(stage, words(pool)[2:])
    assert "--out" in capsys.readouterr().err


def test_a_file_that_is_no_parquet_is_named(tmp_path):
    (tmp_path / "broken.parquet").write_text("no")
    with pytest.raises(UserError, match=r"broken.parquet: cannot be read as parquet"):
        flags.parsed(stage, words(str(tmp_path / "broken.parquet")))


def test_the_help_is_the_docstring(capsys):
    with pytest.raises(SystemExit):
        flags.parsed(stage, ["--help"])
    assert "where to write, in two lines." in " ".join(capsys.readouterr().out.split())


def test_keys_travel_as_json():
    select = config.Select.model_construct(drop_top=0.1, quota={"a": 0.5, "b; rm 'c'": 0.5}, format=["jsonl"])
    assert json.loads(flags.keys(select, "quota")) == {"quota": {"a": 0.5, "b; rm 'c'": 0.5}}
    assert json.loads(flags.keys(select, without=["quota"])) == {"drop_top": 0.1, "format": ["jsonl"]}
