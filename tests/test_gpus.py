"""Reservations of GPUs, by names of GPUs that need not exist: a command sees those that were reserved for it."""

import os
import subprocess
import sys
from uuid import uuid4

import pytest

SHOW = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]
HOLD = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES; read line"]


@pytest.fixture
def start(tmp_path):
    """A function that starts a command with reserved GPUs, on a machine of eight that are this test's alone."""
    started = []
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\n" + "".join(f"echo '{n}, GPU-{uuid4()}'\n" for n in range(8)))
    smi.chmod(0o755)

    def begin(number: int, *command: str, **variables: str) -> subprocess.Popen:
        without = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "KUBERNETES_SERVICE_HOST")
        environment = {name: value for name, value in os.environ.items() if name not in without}
        process = subprocess.Popen(
            [sys.executable, "-m", "moesift.gpus", str(number), *command],
            env=environment | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def visible_to(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


def test_parallel_jobs_never_share_a_gpu(start):
    jobs = [start(1, *HOLD, CUDA_VISIBLE_DEVICES="4,5,7") for _ in range(3)]
    assert sorted(visible_to(job) for job in jobs) == ["4", "5", "7"]


def test_a_job_that_needs_two_waits_and_holds_none_until_then(start):
    first = start(1, *HOLD, CUDA_VISIBLE_DEVICES="0,1")
    assert visible_to(first) == "0"
    pair = start(2, *SHOW, CUDA_VISIBLE_DEVICES="0,1")
    assert pair.stderr.readline() == "waiting for 2 of the GPUs 0,1\n"
    other = start(1, *SHOW, CUDA_VISIBLE_DEVICES="0,1")
    assert other.communicate(timeout=30)[0] == "1\n"  # the waiting pair holds nothing
    first.communicate("done\n", timeout=30)
    assert pair.communicate(timeout=30)[0] == "0,1\n"


def test_a_killed_job_frees_its_gpu(start):
    first = start(1, *HOLD, CUDA_VISIBLE_DEVICES="0")
    assert visible_to(first) == "0"
    first.kill()
    assert start(1, *SHOW, CUDA_VISIBLE_DEVICES="0").communicate(timeout=30)[0] == "0\n"


def test_a_gpu_is_taken_by_whatever_name_and_from_whatever_folder(start, tmp_path):
    """Jobs of other users have other temporary folders, and may name a GPU by its number or its UUID."""
    uuid = (tmp_path / "nvidia-smi").read_text().split("'")[1].removeprefix("0, ")
    (tmp_path / "other").mkdir()
    first = start(1, *HOLD, CUDA_VISIBLE_DEVICES=uuid, TMPDIR=str(tmp_path / "other"))
    assert visible_to(first) == uuid
    assert start(1, *SHOW).communicate(timeout=30)[0] == "1\n"  # any of the machine's
    second = start(1, *SHOW, CUDA_VISIBLE_DEVICES="0")
    assert second.stderr.readline() == "waiting for 1 of the GPUs 0\n"
    first.communicate("done\n", timeout=30)
    assert second.communicate(timeout=30)[0] == "0\n"


def test_a_job_without_gpus_sees_none(start):
    assert start(0, *SHOW, CUDA_VISIBLE_DEVICES="0,1").communicate(timeout=30)[0] == "\n"


def test_gpus_that_a_scheduler_reserved_need_no_lock(start):
    """Two containers on one machine use the same name for their only GPU, and must not wait for each other."""
    first = start(1, *HOLD, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="8")
    assert visible_to(first) == "0"
    assert start(1, *SHOW, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="9").communicate(timeout=30)[0] == "0\n"


def test_jobs_inside_one_allocation_divide_it(start):
    jobs = [start(1, *HOLD, CUDA_VISIBLE_DEVICES="0,1", SLURM_JOB_ID="8") for _ in range(2)]
    assert sorted(visible_to(job) for job in jobs) == ["0", "1"]


def test_too_few_gpus_are_an_error(start):
    job = start(2, *SHOW, CUDA_VISIBLE_DEVICES="3")
    assert job.communicate(timeout=30)[1].startswith(
        "moesift: error: the job asks for GPUs: 2; visible to it: 1 (CUDA_VISIBLE_DEVICES=3): "
    )
    assert job.returncode == 1


def test_the_exit_code_of_the_command_is_kept(start):
    job = start(1, "sh", "-c", "exit 7", CUDA_VISIBLE_DEVICES="0")
    job.communicate(timeout=30)
    assert job.returncode == 7
