"""What others cite is what is released."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_the_citation_says_what_the_project_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert citation["license"] == project["license"]
    assert citation["abstract"] == project["description"]
    assert {"cff-version", "message", "authors"} <= set(citation)  # what the format demands, beside the title
    assert citation["authors"] == [{"name": "The moesift authors"}]
