"""The READMEs: both say the same, their links exist, and their commands are commands of the project."""

import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec

import pytest
import yaml
from given.markdown import ROOT, blocks, commands

READMES = ("README.md", "README.zh-CN.md")


def test_both_have_the_same_commands_configuration_headings_and_numbers():
    one, other = READMES
    assert commands(one) == commands(other)
    assert blocks(one, "text") == blocks(other, "text")
    assert [yaml.safe_load(block) for block in blocks(one, "yaml")] == [
        yaml.safe_load(block) for block in blocks(other, "yaml")
    ]
    rows = [len(re.findall(r"^\|", (ROOT / name).read_text(), flags=re.M)) for name in READMES]
    assert rows[0] == rows[1]
    headings = [re.findall(r"^(#+) ", (ROOT / name).read_text(), flags=re.M) for name in READMES]
    assert headings[0] == headings[1]
    numbers = [sorted(re.findall(r"\d+\.\d+", (ROOT / name).read_text())) for name in READMES]
    assert numbers[0] == numbers[1]


@pytest.mark.slow
def test_commands_can_be_run(checkout):
    """Snakemake commands are dry runs with the README's configuration, scripts print their help."""
    shutil.copytree(ROOT / "study", checkout.folder / "study", dirs_exist_ok=True)
    first, begin, mine = blocks("README.md", "yaml")
    for name, text in (("first", first), ("mine", mine.replace("gpus: 1", "gpus: 0"))):
        (checkout.folder / "config" / f"{name}.yaml").write_text(text)
        read = yaml.safe_load(text)
        for source in [*read["data"]["sources"], *read["targets"]]:
            if "path" in source:
                place = checkout.folder / source["path"]
                place.parent.mkdir(exist_ok=True)
                place.write_text('{"instruction": "Say yes.", "output": "yes"}\n')
    planned = 0
    for command in commands("README.md"):
        program, *words = shlex.split(command)
        if program == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), flags=re.M), command
        elif program == "snakemake":
            if "slurm" in words and find_spec("snakemake_executor_plugin_slurm") is None:
                continue  # test_slurm.py has a Slurm
            assert "Job stats:" in checkout.snakemake(*words, "-n").stdout, command
            planned += 1
        elif program == "python":
            assert (words[0], words[-1]) == ("-m", "--help"), command
            run = [checkout.python, *words]
            done = subprocess.run(run, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True)
            assert (done.returncode, done.stdout[:6]) == (0, "usage:"), f"{command}\n{done.stderr}"
        else:
            raise AssertionError(f"{command}: nothing tests it")
    assert planned >= 4
    (checkout.folder / "config" / "begin.yaml").write_text(begin)
    planned_of = checkout.planned("--configfile", "config/mine.yaml", "config/begin.yaml")
    assert planned_of["select_run"] > planned_of["select_queries"] > 0
