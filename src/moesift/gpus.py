"""Reserve GPUs for a job: `python -m moesift.gpus 2 COMMAND...` runs COMMAND with two GPUs that no other job has.

Without a reservation, all jobs on a machine would compute on the first GPU that they see.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from moesift.errors import UserError, run

# Tells a job how many GPUs it was given; `moesift.models.loading` compares that with what torch can use.
GIVEN = "MOESIFT_GPUS"
# Set in the jobs of Slurm, PBS and LSF, and in the containers of Kubernetes.
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "KUBERNETES_SERVICE_HOST")


def main() -> None:
    """Become the command once enough GPUs are free; only those are visible to it."""
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        raise UserError("usage: python -m moesift.gpus NUMBER COMMAND...")
    reserve(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])


def reserve(number: int) -> None:
    """Wait until `number` GPUs are free, and make only those visible to this process and what it starts.

    Raises:
        UserError: the machine has fewer.
    """
    visible = devices() if number else []
    if number > len(visible):
        raise UserError(
            f"the job asks for GPUs: {number}; visible to it: {len(visible)} "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'is not set')}): set throughput.gpus, or "
            "the profile's `gpu`, to a number that the machine has, or to 0 to compute on the CPU"
        )
    scheduled = any(name in os.environ for name in SCHEDULERS)
    if scheduled and number == len(visible):
        reserved = visible  # the scheduler has reserved them for this job
    else:
        reserved = take(visible, number, Path(tempfile.gettempdir()) / f"moesift-gpus-{os.getuid()}")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(reserved)
    os.environ[GIVEN] = str(number)


def devices() -> list[str]:
    """Return the GPUs that may be used: those of CUDA_VISIBLE_DEVICES, or all of the machine's if it is not set."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []


def take(visible: list[str], number: int, folder: Path) -> list[str]:
    """Wait until `number` of the visible GPUs are free, and return them.

    Each GPU is a file in `folder`, which stays locked until this process ends, whatever command it becomes and however
    it ends.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    waiting = False
    while True:
        held: dict[str, int] = {}
        for name in visible:
            if len(held) == number:
                break
            lock = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                held[name] = lock
        if len(held) == number:
            for lock in held.values():
                os.set_inheritable(lock, True)  # the command keeps it
            return list(held)
        for lock in held.values():  # holding a part of what it needs would keep other jobs from starting
            os.close(lock)
        if not waiting:
            print(f"waiting for {number} of the GPUs {','.join(visible)}", file=sys.stderr, flush=True)
            waiting = True
        time.sleep(1)


if __name__ == "__main__":
    run(main)
