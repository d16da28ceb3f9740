import json
import sys

import pytest
from given.study import part, study

from moesift.errors import UserError
from moesift.stages import study_page


def run(monkeypatch, source, folder):
    words = ["--study", str(source), "--page", str(folder / "results.md"), "--figures", str(folder)]
    monkeypatch.setattr(sys, "argv", ["study_page", *words])
    study_page.main()
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_page_and_its_figures_appear_and_repeat_to_the_byte(tmp_path, monkeypatch, capsys):
    source = tmp_path / "study.json"
    source.write_text(json.dumps(study(part([1, 2]), part([0]))))
    written = run(monkeypatch, source, tmp_path / "docs")
    assert sorted(written) == ["results.md", "study-auroc.png", "study-layers.png", "study-training.png"]
    printed = capsys.readouterr().out
    assert "On the test seeds the claim held." in printed
    assert "router has the highest mean AUROC" in " ".join(printed.split())
    assert printed.endswith(f"page: {tmp_path / 'docs/results.md'}\n")
    assert run(monkeypatch, source, tmp_path / "again") == written


def test_a_study_without_seeds_has_a_page_and_no_figures(tmp_path, monkeypatch):
    source = tmp_path / "study.json"
    source.write_text(json.dumps(study()))
    written = run(monkeypatch, source, tmp_path / "docs")
    assert list(written) == ["results.md"]
    assert b"Nothing was measured" in written["results.md"]


def test_a_missing_study_is_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="there is no such file"):
        run(monkeypatch, tmp_path / "study.json", tmp_path / "docs")
