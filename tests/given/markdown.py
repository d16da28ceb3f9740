"""What stands in the project's pages, and in those that it makes."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text(), flags=re.S | re.M)


def commands(name: str) -> list[str]:
    lines = [line.partition("   #")[0].strip() for block in blocks(name, "bash") for line in block.splitlines()]
    return [line for line in lines if line]


def links(name: str) -> list[str]:
    """Return the files that a page links to, as paths from the root."""
    found = re.findall(r"\]\(([^)#]+?)\)", (ROOT / name).read_text())
    return [str(Path(name).parent / link) for link in found if not link.startswith("http")]
