import argparse
import shlex

import pytest

from moesift import flags
from moesift.config import Data, Evaluate, Select, Source, Warmup

WARMUP = Warmup(
    accelerate=__file__,
    epochs=2,
    examples=None,
    objective="budget",
    expert_role="partition",
    trash_ratio=0.25,
    trash_share=0.3,
    dual_rate=0.05,
    damping=2,
    margin=1,
    negatives=["truncated"],
    balance=0.01,
    learning_rate=1e-5,
    batch_size=16,
)


def there_and_back(section, *names):
    parser = argparse.ArgumentParser()
    flags.add(parser, type(section), *names)
    return vars(parser.parse_args(shlex.split(flags.arguments(section, *names))))


def test_every_kind_of_value_survives_the_command_line():
    names = ("examples", "expert_role", "learning_rate", "batch_size")
    assert flags.arguments(WARMUP, *names) == (
        "--examples null --expert-role partition --learning-rate 1e-05 --batch-size 16"
    )
    assert there_and_back(WARMUP, *names) == {
        "examples": None,
        "expert_role": "partition",
        "learning_rate": 1e-5,
        "batch_size": 16,
    }


def test_lists_and_sections_travel_whole():
    data = Data(
        sources=[Source(name="odd", hub="a/b; rm -rf 'c'", limit=3)],
        heldout=1,
        corrupt=0.5,
        corruptions=["truncated"],
        seed=0,
        max_length=64,
    )
    assert there_and_back(data, "sources", "corruptions") == {"sources": data.sources, "corruptions": ["truncated"]}
    select = Select(
        ratio=[0.1, 0.5],
        format="jsonl",
        drop_top=0,
        decontaminate=None,
        near_duplicates=None,
        quota={"a": 0.5, "b": 0.5},
        reject=None,
        diversity=None,
    )
    names = ("ratio", "quota", "diversity")
    assert there_and_back(select, *names) == {name: getattr(select, name) for name in names}


@pytest.mark.parametrize("name", ["2024", "null", "true", "2024-01-01", "[a", "a: b", "'a'", "plain", "\U0001f40d"])
def test_text_stays_text(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    evaluate = Evaluate(tasks=[{"name": "mmlu"}], data=name)
    assert there_and_back(evaluate, "data") == {"data": name}


def test_a_value_is_checked_once_more(capsys):
    parser = argparse.ArgumentParser()
    flags.add(parser, Select, "ratio")
    with pytest.raises(SystemExit):
        parser.parse_args(["--ratio", "[0.1, 1.5]"])
    assert "1.5 is not in (0, 1]" in capsys.readouterr().err


def test_a_flag_is_required_so_that_nothing_is_assumed(capsys):
    parser = argparse.ArgumentParser()
    flags.add(parser, Select, "format")
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "--format" in capsys.readouterr().err
