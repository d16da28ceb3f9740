"""Give a job GPUs of its own: `python -m moesift.gpus 2 COMMAND...` runs COMMAND with two GPUs that no other job has.

Without it, every job that runs beside others on one machine would compute on the first GPU that it sees.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from moesift.errors import UserError, run

# What a job is told of how many GPUs it was given, for `moesift.models.loading` to hold against what torch finds.
GIVEN = "MOESIFT_GPUS"
# Set in the jobs of Slurm, PBS and LSF, and in the containers of Kubernetes.
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "KUBERNETES_SERVICE_HOST")


def main() -> None:
    """Become the command, seeing as many GPUs as asked for; wait until so many are free."""
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        raise UserError("usage: python -m moesift.gpus NUMBER COMMAND...")
    own(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])


def own(number: int) -> None:
    """Let this process, and what it starts, see as many GPUs as asked for; wait until so many are free.

    Raises:
        UserError: fewer are to be seen.
    """
    visible = devices() if number else []
    if number > len(visible):
        raise UserError(
            f"the job asks for GPUs: {number}; visible to it: {len(visible)} "
            f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'is not set')}): give throughput.gpus, or "
            "the profile's `gpu`, a number that the machine has, and 0 to compute on the CPU"
        )
    scheduled = any(name in os.environ for name in SCHEDULERS)
    if scheduled and number == len(visible):
        found = visible  # the scheduler has given this job what it asked for
    else:
        found = take(visible, number, Path(tempfile.gettempdir()) / f"moesift-gpus-{os.getuid()}")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(found)
    os.environ[GIVEN] = str(number)


def devices() -> list[str]:
    """Return the GPUs that may be used: those of CUDA_VISIBLE_DEVICES, or, where it is not set, all."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return listed.stdout.split()


def take(visible: list[str], number: int, folder: Path) -> list[str]:
    """Wait until `number` of the visible GPUs are free, and return them.

    Each GPU is a file in `folder` that is locked as long as this process lives, whatever command it becomes and however
    it ends: a killed job leaves nothing behind.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
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
        for lock in held.values():  # half of what is needed would keep another job from starting
            os.close(lock)
        if not told:
            print(f"waiting for {number} of the GPUs {','.join(visible)}", file=sys.stderr, flush=True)
            told = True
        time.sleep(1)


if __name__ == "__main__":
    run(main)
