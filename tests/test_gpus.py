"""GPUs of one's own, with names of GPUs that need not be there: what a command sees is what it was given."""

import os
import subprocess
import sys

import polars as pl
import pytest

from moesift.models import checkpoints

SHOW = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"]


@pytest.fixture
def start(tmp_path):
    """Start a command with GPUs of its own; all that a test starts share one folder of locks."""
    started = []

    def begin(number: int, *command: str, **variables: str) -> subprocess.Popen:
        without = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "KUBERNETES_SERVICE_HOST")
        environment = {name: value for name, value in os.environ.items() if name not in without}
        process = subprocess.Popen(
            [sys.executable, "-m", "moesift.gpus", str(number), *command],
            env=environment | {"TMPDIR": str(tmp_path)} | variables,
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


def shown_then_waiting(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


HOLD = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES; read line"]


def test_jobs_side_by_side_never_share_a_gpu(start):
    jobs = [start(1, *HOLD, CUDA_VISIBLE_DEVICES="4,5,7") for _ in range(3)]
    assert sorted(shown_then_waiting(job) for job in jobs) == ["4", "5", "7"]


def test_a_job_of_two_waits_for_two_and_takes_none_before(start):
    first = start(1, *HOLD, CUDA_VISIBLE_DEVICES="0,1")
    assert shown_then_waiting(first) == "0"
    pair = start(2, *SHOW, CUDA_VISIBLE_DEVICES="0,1")
    assert pair.stderr.readline() == "waiting for 2 of the GPUs 0,1\n"
    other = start(1, *SHOW, CUDA_VISIBLE_DEVICES="0,1")
    assert other.communicate(timeout=30)[0] == "1\n"  # the waiting pair holds nothing
    first.communicate("done\n", timeout=30)
    assert pair.communicate(timeout=30)[0] == "0,1\n"


def test_a_killed_job_gives_its_gpu_back(start):
    first = start(1, *HOLD, CUDA_VISIBLE_DEVICES="0")
    assert shown_then_waiting(first) == "0"
    first.kill()
    assert start(1, *SHOW, CUDA_VISIBLE_DEVICES="0").communicate(timeout=30)[0] == "0\n"


def test_a_job_of_none_sees_none(start):
    assert start(0, *SHOW, CUDA_VISIBLE_DEVICES="0,1").communicate(timeout=30)[0] == "\n"


def test_what_a_scheduler_gave_is_taken_as_it_is(start):
    """Two containers of one machine call their only GPU the same: they must not wait for each other."""
    first = start(1, *HOLD, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="8")
    assert shown_then_waiting(first) == "0"
    assert start(1, *SHOW, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID="9").communicate(timeout=30)[0] == "0\n"


def test_jobs_inside_one_allocation_share_it_out(start):
    jobs = [start(1, *HOLD, CUDA_VISIBLE_DEVICES="0,1", SLURM_JOB_ID="8") for _ in range(2)]
    assert sorted(shown_then_waiting(job) for job in jobs) == ["0", "1"]


def test_more_than_there_are_is_one_message(start):
    job = start(2, *SHOW, CUDA_VISIBLE_DEVICES="3")
    assert job.communicate(timeout=30)[1].startswith(
        "moesift: error: the job asks for GPUs: 2; visible to it: 1 (CUDA_VISIBLE_DEVICES=3): "
    )
    assert job.returncode == 1


@pytest.mark.slow
def test_a_scoring_on_gpus_that_torch_cannot_use_stops(start, selector, conversations, tmp_path):
    """A number that no machine has stands for a GPU whose driver, or whose torch, does not do."""
    checkpoints.save(selector, tmp_path / "epoch-0", None, {})
    pool = {"id": ["a"], "source": ["s"], "messages": conversations[:1], "finished": [True]}
    pl.DataFrame(pool).write_parquet(tmp_path / "pool.parquet")
    words = f"--model {tmp_path} --quantities epoch-0.signals --pool {tmp_path}/pool.parquet --shard 1-of-1 --threads 1"
    words += f" --token-budget 0 --max-length 64 --out {tmp_path}/measured.parquet"
    job = start(2, sys.executable, "-m", "moesift.stages.run_pass", *words.split(), CUDA_VISIBLE_DEVICES="98,99")
    said = job.communicate(timeout=120)[1]
    assert "moesift: error: the job asks for GPUs: 2; of those that it was given, torch can compute on: 0; " in said
    assert job.returncode == 1
    assert not (tmp_path / "measured.parquet").exists()


def test_the_command_s_exit_code_is_kept(start):
    job = start(1, "sh", "-c", "exit 7", CUDA_VISIBLE_DEVICES="0")
    job.communicate(timeout=30)
    assert job.returncode == 7
