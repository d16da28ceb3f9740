"""What made a result: the code of a stage and the files that it read, as digests, and the versions of libraries."""

import ast
import functools
import hashlib
import os
import platform
import subprocess
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from moesift.gpus import devices

PACKAGE = Path(__file__).parent

# Configuration reaches a stage as flags; a column comes with the code of its pass, a declaration with that of its
# method. The others word errors, write files atomically, hand out GPUs, show progress, record what was done or say what
# is odd about it. One that is named itself counts.
WITHOUT_EFFECT = {
    *("moesift", "moesift.config", "moesift.errors", "moesift.fields", "moesift.files", "moesift.flags"),
    *("moesift.gpus", "moesift.live", "moesift.progress", "moesift.provenance", "moesift.validation"),
    "moesift.training.accelerate_file",
    "moesift.report.health",
    *("moesift.passes.columns", "moesift.methods", "moesift.methods.declaration"),
}

SMALL = 2**20  # bytes of a file whose content is read to see whether it changed
OF_MODEL = {".json", ".jinja", ".txt", ".model", ".safetensors"}

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


def digest(*modules: str) -> str:
    """Return a digest of the code of some modules, such as `stages.score`, and of all that they import, at any depth.

    Comments, docstrings and blank lines do not count: a better comment retrains nothing; nor does the version of
    Python. As a param of a Snakemake rule it reruns the stage when its code changes, and only then.
    """
    named = [f"moesift.{module}" for module in modules]
    pending, seen = list(named), dict[str, str]()
    while pending:
        name = pending.pop()
        if name in seen or (name in WITHOUT_EFFECT and name not in named):
            continue
        seen[name], imported = _parsed(_file(name).read_text())
        pending += [module for module in imported if _file(module).is_file()]
    return hashlib.sha256("\n".join(f"{name}:{seen[name]}" for name in sorted(seen)).encode()).hexdigest()[:16]


def content(*paths: str | Path) -> str:
    """Return a digest of what files hold, of those in a folder too; empty where no path is a file or a folder.

    Of a small file that is its content, of a large one its size and the time of its last change. Folders in a folder
    count if they hold chat templates.
    """
    files = [
        file for path in map(Path, paths) for file in ([path] if path.is_file() else sorted(_files_of_model(path)))
    ]
    found = [f"{file}:{_content(file)}" for file in files]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16] if found else ""


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


def _files_of_model(folder: Path) -> list[Path]:
    """Return the files that transformers reads a model or a tokenizer from; none of a name on the hub."""
    read = (*folder.glob("*"), *folder.glob("additional_chat_templates/*"))
    return [file for file in read if file.suffix in OF_MODEL and file.is_file()]


@functools.cache  # every job that reads a model asks, and a Snakemake plans thousands
def _content(file: Path) -> str:
    stat = file.stat()
    if stat.st_size > SMALL:
        return f"{stat.st_size}:{stat.st_mtime_ns}"
    return hashlib.sha256(file.read_bytes()).hexdigest()


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
    """Return the lines of a module without docstrings, comments and blank lines, and what its imports name."""
    tree = ast.parse(text)
    lines = text.encode().splitlines()  # the parser counts bytes
    hashes = [row for row, line in enumerate(lines, start=1) if b"#" in line]
    strings: dict[int, list[tuple[int, int]]] = {}  # where strings stand in these lines: a # in them is no comment
    statements = list(_statements(tree))
    for node in statements:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [b""] * (last - first + 1)
        rows = _rows(node)
        if bisect_left(hashes, rows.start) == bisect_left(hashes, rows.stop):
            continue
        for part in _parts(node):
            if isinstance(part, ast.JoinedStr) or (
                isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes))
            ):
                for row in _rows(part):
                    start = part.col_offset if row == part.lineno else 0
                    end = part.end_col_offset or 0 if row == part.end_lineno else sys.maxsize
                    strings.setdefault(row, []).append((start, end))
    code = []
    for row, line in enumerate(lines, start=1):
        spans = strings.get(row, [])
        places = (place for place, byte in enumerate(line) if byte == ord("#")) if b"#" in line else ()
        comment = next((place for place in places if not any(start <= place < end for start, end in spans)), None)
        code.append(line[:comment].rstrip())
    return b"\n".join(filter(None, code)).decode(), _imports(statements)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Return a module and all of its statements, at any depth; its expressions, ten times as many, are left out."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, ())


def _parts(statement: ast.AST) -> Iterator[ast.AST]:
    """Return the expressions of a statement itself, at any depth, without those of the statements in it."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
            yield from ast.walk(child)


def _rows(node: Any) -> range:
    return range(getattr(node, "lineno", 1), (getattr(node, "end_lineno", None) or sys.maxsize - 1) + 1)


def _imports(statements: Iterable[ast.AST]) -> list[str]:
    """Return what a module names of moesift in an import, wherever it stands: modules, and what may be in them."""
    names: list[str] = []
    for node in statements:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from moesift import flags` names a module, `from moesift.errors import run` a function of one.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == "moesift"]
