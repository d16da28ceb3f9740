"""What the READMEs tell a newcomer to type does what they say, and both say the same."""

import re
import shlex
import subprocess
from importlib.util import find_spec

import pytest
import yaml
from given.markdown import ROOT, blocks, commands, links

READMES = ("README.md", "README.zh-CN.md")
# `make demo` and `make test` are run by whoever tries the first, and by CI; these here are what one types after them.
ELSEWHERE = ("make ",)


def data(text: str) -> dict:
    return yaml.safe_load(text)


def test_both_have_the_same_commands_tables_and_configuration():
    one, other = READMES
    assert commands(one) == commands(other)
    assert blocks(one, "text") == blocks(other, "text")
    assert [data(block) for block in blocks(one, "yaml")] == [data(block) for block in blocks(other, "yaml")]
    headings = [re.findall(r"^(#+) ", (ROOT / name).read_text(), flags=re.M) for name in READMES]
    assert headings[0] == headings[1]
    numbers = [sorted(re.findall(r"\d+\.\d+", (ROOT / name).read_text())) for name in READMES]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("name", READMES)
def test_every_link_leads_somewhere(name):
    dead = [link for link in links(name) if not (ROOT / link).exists()]
    assert not dead
    assert len(links(name)) > 10


@pytest.mark.slow
def test_every_command_is_one_that_there_is(checkout):
    """Every snakemake command as a dry run on the configuration that the README gives, every script by its help."""
    (mine,) = blocks("README.md", "yaml")
    (checkout.folder / "config" / "mine.yaml").write_text(mine.replace("gpus: 1", "gpus: 0"))
    for source in data(mine)["data"]["sources"]:
        if "path" in source:
            place = checkout.folder / source["path"]
            place.parent.mkdir(exist_ok=True)
            place.write_text('{"instruction": "Say yes.", "output": "yes"}\n')
    planned = 0
    for command in commands("README.md"):
        program, *words = shlex.split(command)
        if command.startswith(ELSEWHERE):
            target = re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), flags=re.M)
            assert target, command
        elif program == "snakemake":
            if "slurm" in words and find_spec("snakemake_executor_plugin_slurm") is None:
                continue  # its own test, with a Slurm: test_slurm.py
            assert "Job stats:" in checkout.snakemake(*words, "-n").stdout, command
            planned += 1
        elif program == "python":
            assert (words[0], words[-1]) == ("-m", "--help"), command
            run = [checkout.python, *words]
            done = subprocess.run(run, cwd=checkout.folder, env=checkout.environment, capture_output=True, text=True)
            assert (done.returncode, done.stdout[:6]) == (0, "usage:"), f"{command}\n{done.stderr}"
        else:
            raise AssertionError(f"{command}: nothing tests it")
    assert planned >= 5
