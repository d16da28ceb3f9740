"""The pages below docs/ say what is so: the tutorial is run word by word, and each error of the FAQ is one there is."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from given.markdown import ROOT, blocks, commands, links

PAGES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))
NOT_OURS = ("snakemake: command not found", "Directory cannot be locked", "CUDA out of memory")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    assert [link for link in links(name) if not (ROOT / link).exists()] == []


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(copy, tmp_path):
    folder = copy(tmp_path / "tutorial").folder
    shutil.copytree(ROOT / "docs", folder / "docs")
    (configuration,) = blocks("docs/tutorial.md", "yaml")
    (folder / configuration.splitlines()[0].removeprefix("# ")).write_text(configuration)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder / "src")}
    printed = {}
    for command in commands("docs/tutorial.md"):
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        printed[command.split("   ")[0]] = done.stdout

    (expected,) = blocks("docs/tutorial.md", "text")
    lowest = printed["python docs/lowest.py results/capitals likelihood_pmi 14"]
    assert [line.split("  ")[-1] for line in lowest.splitlines()] == [
        line.split("  ")[-1] for line in expected.splitlines()
    ]
    rows = [json.loads(row) for row in (folder / "capitals.jsonl").read_text().splitlines()[:60]]
    wrong = {row["output"] for row in rows if row["note"] == "wrong"}
    assert len(wrong) == 12

    def kept(method: str) -> list[str]:
        file = folder / f"results/capitals/selected/{method}/ratio-0.5/seed-0.jsonl"
        return [json.loads(row)["messages"][-1]["content"] for row in file.read_text().splitlines()]

    assert len(kept("likelihood_pmi")) == len(kept("random")) == 28
    assert not wrong & set(kept("likelihood_pmi"))
    assert len(wrong & set(kept("random"))) == 7
    rejected = next(text for command, text in printed.items() if "rejected" in command)
    assert "'row': 60" in rejected


def test_the_errors_of_the_faq_are_ours():
    headings = re.findall(r"^### `?(.+?)`?$", (ROOT / "docs/faq.md").read_text().partition("## Questions")[0], re.M)
    code = "".join(path.read_text() for path in [*ROOT.glob("src/**/*.py"), ROOT / "Snakefile"])
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a message that goes on in the next line
    assert len(headings) > 10
    assert [heading for heading in headings if heading not in NOT_OURS and heading not in code] == []
