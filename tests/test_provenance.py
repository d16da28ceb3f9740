import os
import shutil
import subprocess
from pathlib import Path

import polars
import pytest

from moesift import provenance


def written(tmp_path, monkeypatch, **modules):
    for name, text in modules.items():
        path = tmp_path / ("stages/score.py" if name == "score" else f"{name}.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    return provenance.digest("stages.score")


BASE = {
    "config": "LIMIT = 1\n",
    "deep": "def f(x):\n    return x\n",
    "middle": "from moesift import deep\n",
    "score": '"""Doc."""\nfrom moesift import config\n\n\ndef main():\n    from moesift.middle import deep\n',
    "report": "A = 1\n",
}


def test_only_code_that_the_stage_reaches_changes_its_digest(tmp_path, monkeypatch):
    before = written(tmp_path, monkeypatch, **BASE)
    assert written(tmp_path, monkeypatch, **BASE) == before
    # Not reached, or without effect on what is computed:
    assert written(tmp_path, monkeypatch, report="A = 2\n") == before
    assert written(tmp_path, monkeypatch, config="LIMIT = 2\n") == before
    assert written(tmp_path, monkeypatch, deep='def f(x):\n    """Return x."""\n    # why\n    return x\n') == before
    # Reached through two imports, one of them inside a function:
    assert written(tmp_path, monkeypatch, deep="def f(x):\n    return -x\n") != before


def test_what_has_no_effect_counts_where_it_is_named(tmp_path, monkeypatch):
    written(tmp_path, monkeypatch, **BASE)
    alone, named = provenance.digest("stages.score"), provenance.digest("stages.score", "config")
    assert written(tmp_path, monkeypatch, config="LIMIT = 2\n") == alone
    assert provenance.digest("stages.score", "config") != named != alone


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_gives_the_same_digest(version):
    """A rebuilt environment with another Python must not retrain everything."""
    pythons = [shutil.which(f"python{version}"), *(Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python")]
    program = "from moesift.provenance import digest; print(digest('stages.train_adapter', 'methods.typicality'))"
    environment = os.environ | {"PYTHONPATH": str(provenance.PACKAGE.parent)}
    for python in filter(None, pythons):
        ran = subprocess.run([python, "-S", "-c", program], env=environment, capture_output=True, text=True)
        if "command not found" not in ran.stderr:
            assert ran.stdout.strip() == provenance.digest("stages.train_adapter", "methods.typicality"), ran.stderr
            return
    pytest.skip(f"there is no Python {version} here")


def test_the_content_of_a_model_directory(tmp_path, monkeypatch):
    """Small files by what they hold, whatever their time; large ones by size and time; the README never."""
    monkeypatch.setattr(provenance, "SMALL", 20)
    templates = tmp_path / "additional_chat_templates"
    templates.mkdir()
    files = [tmp_path / "config.json", tmp_path / "model.safetensors", templates / "tool_use.jinja"]
    for file, text in zip(files, ("{}", "x" * 50, "{{ a }}"), strict=True):
        file.write_text(text)

    def now():
        provenance._content.cache_clear()
        return provenance.content(str(tmp_path))

    before = now()
    (tmp_path / "README.md").write_text("a model")
    os.utime(files[0], ns=(1, 1))
    assert now() == before
    os.utime(files[1], ns=(1, 1))  # as one that was copied with its time, and is older
    other = now()
    assert other != before
    files[2].write_text("{{ b }}")
    assert len({before, other, now()}) == 3
    assert provenance.content("allenai/OLMoE-1B-7B-0125") == ""
    assert provenance.content(files[0]) != provenance.content(files[0], files[2])


def test_versions_name_the_libraries():
    found = provenance.versions()
    assert found["polars"] == polars.__version__
    assert {"moesift", "torch", "transformers", "peft", "lm-eval"} <= set(found)


def test_a_machine_names_its_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$3" = "--id=0,2" ] && echo "NVIDIA H100" && echo "NVIDIA H100"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.machine().endswith(" GiB, 2 x NVIDIA H100")
    program.unlink()
    assert provenance.machine().endswith(" GiB, 2 GPUs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert provenance.machine().endswith(" GiB")
