import json
import subprocess
import sys

import pytest

from moesift.stages import table

OUTCOME = {"value": 0.25, "stderr": 0.0125}
ROWS = [
    {
        "method": "base",
        "ratio": None,
        "seed": None,
        "outcomes": {"heldout": {"value": 5.1246, "stderr": 0.062}, "mmlu": OUTCOME},
        "kept_corrupted": None,
    },
    {
        "method": "router_untrained",
        "ratio": 0.05,
        "seed": 12,
        "outcomes": {"heldout": {"value": 14.5, "stderr": 0.1}, "mmlu": {"value": 0.5, "stderr": None}},
        "kept_corrupted": 0.2215,
    },
]
NUMBERS = {"headline": ["It is so."] * 20, "labelled": True, "tasks": [{"name": "mmlu"}], "rows": ROWS}


def test_the_table_the_headline_and_where_the_page_is(tmp_path, monkeypatch, capsys):
    (tmp_path / "results.json").write_text(json.dumps(NUMBERS))
    monkeypatch.setattr(sys, "argv", ["table", str(tmp_path / "results.json")])
    table.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "method            kept  seed   held-out nats  corrupted kept           mmlu",
        "base                           5.125 ± 0.062                  0.250 ± 0.013",
        "router_untrained    5%    12  14.500 ± 0.100           22.1%          0.500",
        "",
    ]
    assert " ".join(lines[4:6]) == ("It is so. " * 20).strip()
    assert max(len(line) for line in lines[:-1]) <= 110
    assert lines[6] == f"report: {tmp_path}/report/index.html"


def test_tasks_beyond_the_width_are_named_below():
    names = [f"task_with_a_long_name_{n}" for n in range(9)]
    rows = [{**row, "outcomes": {**row["outcomes"], **dict.fromkeys(names, OUTCOME)}} for row in ROWS]
    lines = table.table({**NUMBERS, "tasks": [{"name": name} for name in names], "rows": rows}).splitlines()
    assert max(len(line) for line in lines[:-1]) <= 110
    assert lines[0].split()[-2:] == names[:2]
    assert lines[-1] == f"not shown, but in the report: {', '.join(names[2:])}"


def test_a_pool_without_labels_has_no_column_of_them():
    assert "corrupted" not in table.table({**NUMBERS, "labelled": False})


@pytest.mark.parametrize("argument", ["none.json", "."])
def test_a_missing_file_is_one_message(argument):
    done = subprocess.run(
        [sys.executable, "-m", "moesift.stages.table", argument], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"moesift: error: {argument}: there is no such file; `snakemake --cores all` makes it\n"
