"""Each mistake of a user ends in one message that names the culprit, before anything is trained."""

import json

import pytest
import yaml


def refused(checkout, **changes) -> str:
    done = checkout.snakemake("-n", "--configfile", checkout.configured("wrong", **changes), check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr  # snakemake logs a dry run on the one, a run on the other
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"select": {"ratio": 1.5}}, "select.ratio: 1.5 is not in (0, 1]"),
        ({"select": {"ratio": 0}}, "select.ratio: 0 is not in (0, 1]"),
        ({"warmup": {"trash_ration": 0.2}}, "warmup.trash_ration: unknown key; did you mean trash_ratio?"),
        ({"warmup": {"epochs": "two"}}, "warmup.epochs: two is refused"),
        (
            {"selector": {"model": "./nowhere"}},
            "selector.model: ./nowhere is neither a directory nor a name on the hub",
        ),
        (
            {"data": {"sources": [{"name": "mine", "path": "mine.jsonl"}]}},
            "data.sources.0.path: mine.jsonl is not a file",
        ),
        ({"data": {"sources": []}}, "data.sources: "),
    ],
)
def test_the_configuration_is_refused_when_the_dag_is_built(checkout, changes, message):
    assert message in refused(checkout, **changes)


def test_all_errors_come_at_once(checkout):
    message = refused(checkout, select={"ratio": [0.1, 1.5]}, train={"epochs": 0}, evaluate={"task": []})
    assert "select.ratio: 1.5 is not in (0, 1]" in message
    assert "train.epochs: 0 is refused" in message
    assert "evaluate.task: unknown key; did you mean tasks?" in message


def test_a_key_that_stands_twice_in_a_file_is_refused(checkout):
    (checkout.folder / "twice.yaml").write_text("warmup:\n  epochs: 1\n  damping: 1\n  epochs: 2\n")
    done = checkout.snakemake("-n", "--configfile", "twice.yaml", check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "twice.yaml: duplicate keys in a section; keep one of\nline 2: epochs\nline 4: epochs" in said
    assert "Traceback" not in said


def test_a_file_whose_name_has_a_wildcard_is_one_error(checkout):
    (checkout.folder / "own").mkdir()
    (checkout.folder / "own" / "about {it}.jsonl").write_text("")
    for changes in ({"data": {"sources": [{"name": "a", "hub": "own"}]}}, {"evaluate": {"data": "own"}}):
        assert "about {it}.jsonl: Snakemake would take the braces for a wildcard" in refused(checkout, **changes)


def prepared(checkout, text: bytes) -> str:
    (checkout.folder / "bad.jsonl").write_bytes(text)
    source = {"name": "bad", "path": "bad.jsonl"}
    changed = checkout.configured("bad", data={"sources": [source], "heldout": 1})
    done = checkout.snakemake("results/tiny/data/pool.parquet", "--cores", "1", "--configfile", changed, check=False)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "there are no rows"),
        (b'{"text": "a", "label": "b"}\n', "no row of bad can be used"),
        (b"\xff\xfe\x00\x01\n", "no row of bad can be used"),
    ],
)
def test_a_pool_of_nothing_ends_in_one_message(checkout, text, message):
    said = prepared(checkout, text)
    assert "moesift: error: " in said
    assert message in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_model_that_is_not_there_is_found_before_anything_is_trained(checkout):
    changed = checkout.configured("absent", target={"model": "nobody/nothing"})
    done = checkout.snakemake("--cores", "1", "--configfile", changed, check=False)
    assert "moesift: error: target.model: nobody/nothing is neither" in done.stderr
    assert not list(checkout.folder.glob("results/tiny/embedded/*"))


@pytest.mark.slow
def test_a_misspelt_task_is_found_before_anything_is_trained(checkout):
    changed = checkout.configured("misspelt", experiment="misspelt", evaluate={"tasks": [{"name": "arc_eazy"}]})
    done = checkout.snakemake("--cores", "1", "--configfile", changed, check=False)
    assert "moesift: error: evaluate.tasks: unknown task arc_eazy; did you mean arc_easy" in done.stderr
    assert not list(checkout.folder.glob("results/misspelt/embedded/*"))


def test_the_default_configuration_explains_every_key(checkout):
    """Each key of the model stands in config.yaml, with a comment above it or in the line of its group."""
    from moesift.config import Config, Section

    text = (checkout.folder / "config" / "config.yaml").read_text()
    given = yaml.safe_load(text)
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            assert list(given[name]) == list(field.annotation.model_fields), name
    assert json.dumps(given)  # plain values only
    assert text.count("#") >= 40
