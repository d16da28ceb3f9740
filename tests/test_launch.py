"""A training is started on the processes that its accelerate file asks for, on one machine or on several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moesift.launch import files_of_launch, machines

ROOT = Path(__file__).parents[1]


def launch(*words: str, **variables: str) -> subprocess.CompletedProcess:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    command = [sys.executable, "-m", "moesift.launch", *words]
    return subprocess.run(command, cwd=ROOT, env=outside | variables, capture_output=True, text=True)


def flags(nodes: int) -> list[str]:
    return ["--nodes", str(nodes), "--gpus", "0", "--threads", "3", "--config", "config/accelerate/single.yaml"]


def test_each_launch_on_one_machine_gets_a_port():
    (name, one), (_, other) = machines(1, {}), machines(1, {})
    assert name == "--main_process_port"
    assert int(one) > 1023
    assert int(other) > 1023


def test_each_of_several_machines_knows_its_number_and_the_first():
    environment = {"SLURM_NODEID": "1", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.5", "SLURM_JOB_ID": "123456"}
    assert machines(4, environment) == [
        *("--num_machines", "4", "--machine_rank", "1", "--same_network"),
        *("--main_process_ip", "10.0.0.5", "--main_process_port", "23456"),
        *("--deepspeed_multinode_launcher", "standard"),
    ]


def test_a_job_of_several_nodes_starts_itself_on_each(tmp_path):
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    srun.chmod(0o755)
    words = [*flags(2), "some.module", "--name", "two words"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = launch(*words, PATH=path, SLURM_JOB_ID="7").stdout.splitlines()
    python = command.index(sys.executable)
    flags_of_srun = ["--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--kill-on-bad-exit=1", "--cpus-per-task=3"]
    assert command[:python] == flags_of_srun
    assert command[python:] == [sys.executable, "-m", "moesift.launch", *words]


def test_several_nodes_without_slurm_are_an_error():
    done = launch(*flags(2), "some.module")
    assert (done.returncode, done.stderr) == (
        1,
        "moesift: error: nodes: 2 are asked for, and only a job of Slurm can have more than one\n",
    )


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("os.kill(os.getpid(), 9)", "moesift: error: a process of the training was killed by SIGKILL"),
        ("sys.exit('moesift: error: of its own')", "moesift: error: of its own"),
    ],
)
def test_a_training_that_fails_ends_in_one_message(tmp_path, end, message):
    (tmp_path / "ending.py").write_text(f"import os, sys\n{end}\n")
    done = launch(*flags(1), "ending", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_files_of_a_launch(tmp_path):
    """What cannot be read is said where it is used; here it is the one file."""
    deepspeed = "distributed_type: DEEPSPEED\ndeepspeed_config: {deepspeed_config_file: zero.json}\n"
    texts = {deepspeed: ["zero.json"], "num_processes: 1": [], "": [], "a: [": [], "deepspeed_config: no": [], "\0": []}
    for text, named in texts.items():
        (tmp_path / "one.yaml").write_text(text)
        assert files_of_launch(tmp_path / "one.yaml") == [str(tmp_path / "one.yaml"), *named]
    assert files_of_launch("nothing.yaml") == ["nothing.yaml"]
