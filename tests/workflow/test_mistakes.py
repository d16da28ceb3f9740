"""Each mistake of a user ends in one message that names the culprit, before anything is trained."""

import pytest
import yaml


def refused(checkout, **changes) -> str:
    done = checkout.snakemake("-n", "--configfile", checkout.configured("wrong", **changes), check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr  # snakemake logs a dry run on the one, a run on the other
    assert "Traceback" not in said
    return said


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


def test_the_default_configuration_gives_every_key_and_explains_every_section(checkout):
    """With a comment above a section, or above its first key."""
    from moesift.config import Config, Section

    text = (checkout.folder / "config" / "config.yaml").read_text()
    given, lines = yaml.safe_load(text), text.splitlines()
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            assert list(given[name]) == list(field.annotation.model_fields), name
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{name}:"))
        assert any(line.lstrip().startswith("#") for line in (lines[place - 1], lines[place + 1])), name
