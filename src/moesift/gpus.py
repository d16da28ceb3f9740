"""Reserve GPUs for a job: `python -m moesift.gpus 2 COMMAND...` runs COMMAND with two GPUs that no other job has.

Without a reservation, all jobs on a machine would compute on the first GPU that they see.
"""

import errno
import os
import socket
import subprocess
import sys
import time

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
    # What a scheduler gave to this job is reserved already.
    reserved = visible if scheduled and number == len(visible) else take(visible, number)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(reserved)
    os.environ[GIVEN] = str(number)


def devices() -> list[str]:
    """Return the GPUs that may be used: those of CUDA_VISIBLE_DEVICES, or all of the machine's if it is not set."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    return list(uuids())


def uuids() -> dict[str, str]:
    """Return the name of each GPU of the machine that is the same for all of its users and jobs, by its number."""
    query = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return {}
    return dict(line.split(", ") for line in lines)


def take(visible: list[str], number: int) -> list[str]:
    """Wait until `number` of the visible GPUs are free, and return them.

    A GPU is taken by a name in Linux's abstract namespace of sockets, which all users of the machine share, and in
    which there are no files that one of them could prepare for another. It is free again once this process has ended,
    whatever command it became and however it ended.
    """
    names = uuids()
    waiting = False
    while True:
        held: dict[str, socket.socket] = {}
        for gpu in visible:
            if len(held) == number:
                break
            name = socket.socket(socket.AF_UNIX)
            try:
                name.bind(f"\0moesift-gpu-{names.get(gpu, gpu)}")
            except OSError as error:
                name.close()
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                held[gpu] = name
        if len(held) == number:
            for name in held.values():
                os.set_inheritable(name.detach(), True)  # the command keeps it
            return list(held)
        for name in held.values():  # holding a part of what it needs would keep other jobs from starting
            name.close()
        if not waiting:
            print(f"waiting for {number} of the GPUs {','.join(visible)}", file=sys.stderr, flush=True)
            waiting = True
        time.sleep(1)


if __name__ == "__main__":
    run(main)
