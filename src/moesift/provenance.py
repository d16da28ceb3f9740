"""What made a result: the code of a stage as a digest, and the versions of the libraries."""

import ast
import functools
import hashlib
import os
import platform
import subprocess
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from moesift.gpus import devices

PACKAGE = Path(__file__).parent

# Configuration reaches a stage as flags only; the others word an error, write a file whole or not at all, hand out
# GPUs, show how far a stage is or record what was done. None changes a result.
WITHOUT_EFFECT = {
    f"moesift{module}" for module in ("", ".config", ".errors", ".files", ".gpus", ".live", ".progress", ".provenance")
}

RECORDED = (
    "moesift",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "deepspeed",
    "lm-eval",
    "datasets",
    "snakemake",
    "polars",
)


def digest(stage: str) -> str:
    """Return a digest of a stage's code: its module and every module of moesift that it imports, at any depth.

    Comments, docstrings and layout do not count: a better comment retrains nothing. As a param of a Snakemake rule it
    reruns the stage when its code changes, and only then.
    """
    pending, seen = [f"moesift.stages.{stage}"], dict[str, str]()
    while pending:
        name = pending.pop()
        if name in seen or name in WITHOUT_EFFECT:
            continue
        seen[name], named = _parsed(_file(name).read_text())
        pending += [module for module in named if _file(module).is_file()]
    return hashlib.sha256("\n".join(f"{name}:{seen[name]}" for name in sorted(seen)).encode()).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the installed versions of moesift and of the libraries that its results depend on."""
    return {package: version(package) for package in RECORDED}


def commit() -> str | None:
    """Return the commit of the checkout, with a + where files differ from it; None where there is no git."""
    git = ["git", "-C", str(PACKAGE)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.strip() + ("+" if changed.stdout.strip() else "")


def machine() -> str:
    """Return the processor, the cores that may be used, the memory and the GPUs that are visible, in words."""
    try:
        named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        processor = named[0].partition(":")[2].strip()
    except (OSError, IndexError):
        processor = platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return ", ".join([processor, f"{cores} cores", f"{memory:.0f} GiB", *_gpus()])


def _gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    visible = devices()
    if not visible:
        return []
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader", f"--id={','.join(visible)}"]
    try:
        named = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return [f"{len(visible)} GPUs"]  # such as are no NVIDIA's, or named in a way that it does not know
    return [f"{count} x {name}" for name, count in Counter(named.splitlines()).items()]


def _file(name: str) -> Path:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache  # the stages share most of their modules, and every `snakemake` takes all digests when it starts
def _parsed(text: str) -> tuple[str, list[str]]:
    """Return the code of a module without docstrings, dumped, and what its imports name."""
    tree = ast.parse(text)
    return ast.dump(_without_docstrings(tree)), _imports(tree)


def _imports(tree: ast.Module) -> list[str]:
    """Return what a module names of moesift in an import, wherever it stands: modules, and what may be in them."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from moesift import flags` names a module, `from moesift.errors import run` a function of one.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == "moesift"]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree
