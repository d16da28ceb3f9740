import subprocess
import sys

import pytest
from given.comparison import made

from moesift.stages import table


@pytest.mark.parametrize("corrupted", [True, False])
def test_the_table_the_headline_and_where_the_page_is(tmp_path, capsys, corrupted):
    folder = made(tmp_path / "a", seeds=(0, 1, 2), corrupted=corrupted, methods=("router", "random", "full"))
    capsys.readouterr()
    table.main(folder / "results.json")
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines[:5]]
    label = ["corrupted"] if corrupted else []
    assert rows[0] == ["method", "budget", "heldout", "stderr", "difference", "verdict", *label, "mmlu"]
    assert rows[1] == [
        "router",
        "ratio-0.5",
        "4.111",
        "0.064",
        "-0.189",
        "better",
        *(["0.000"] if corrupted else []),
        "0.250",
    ]
    assert [row[0] for row in rows[2:]] == ["random", "full", "base"]
    assert rows[4] == ["base", "5.000", "0.020", "0.250"]
    assert lines[6].startswith("Held-out loss against random: 1 of 1 selections")
    assert lines[-1] == f"report: {folder}/report/index.html"


@pytest.mark.parametrize("argument", ["none.json", "."])
def test_a_missing_file_is_one_message(argument):
    command = [sys.executable, "-m", "moesift.stages.table", "--results", argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"moesift: error: {argument}: there is no such file; `snakemake --cores all` makes it\n"
