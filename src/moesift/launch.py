"""Start a training on the processes that its accelerate file asks for, on one machine or on every node of a Slurm job.

python -m moesift.launch --nodes 2 --gpus 16 --threads 8 --config config/accelerate/zero2.yaml MODULE ARGUMENTS...

is `accelerate launch` on GPUs of its own. A job of several nodes runs its command on the first one alone, so there it
first starts itself by srun, once on each node; which node it is, and where the first one is, Slurm says.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

from moesift.errors import UserError, run
from moesift.gpus import own

IN_STEP = "SLURM_STEP_ID"  # set in what srun has started; Snakemake's plugin takes it from a job of several nodes


def main() -> None:
    """Run the module by accelerate; end as it ends, in one message where it was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, required=True, help="nodes of the job")
    parser.add_argument("--gpus", type=int, required=True, help="GPUs of the job, over all nodes; 0 takes the CPUs")
    parser.add_argument("--threads", type=int, required=True, help="CPU threads of a process")
    parser.add_argument("--config", required=True, help="accelerate configuration file")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the module")
    args = parser.parse_args()

    if args.nodes > 1 and IN_STEP not in os.environ:
        if "SLURM_JOB_ID" not in os.environ:
            raise UserError(f"nodes: {args.nodes} are asked for, and only a job of Slurm can have more than one")
        # The first node to fail ends the others, which would wait for it.
        step = ["srun", f"--nodes={args.nodes}", f"--ntasks={args.nodes}", "--ntasks-per-node=1"]
        step += ["--kill-on-bad-exit=1", f"--cpus-per-task={args.threads}"]
        os.execvp("srun", [*step, sys.executable, "-m", "moesift.launch", *sys.argv[1:]])
    own(args.gpus // args.nodes)
    words = ["--config_file", args.config, "--num_cpu_threads_per_process", str(args.threads)]
    accelerated([*words, *machines(args.nodes, os.environ), "-m", args.module, *args.arguments])


def machines(nodes: int, environment: Mapping[str, str]) -> list[str]:
    """Return what accelerate is told of the machines: this one's number, and where the first one listens."""
    if nodes == 1:
        with socket.socket() as free:  # two trainings on one machine must not listen at the same port
            free.bind(("127.0.0.1", 0))
            return ["--main_process_port", str(free.getsockname()[1])]
    return [
        *("--num_machines", str(nodes), "--machine_rank", environment["SLURM_NODEID"], "--same_network"),
        # srun was called on the first node. All nodes know the job's number, and no other job of the node has it.
        *("--main_process_ip", environment["SLURM_LAUNCH_NODE_IPADDR"]),
        *("--main_process_port", str(20_000 + int(environment["SLURM_JOB_ID"]) % 10_000)),
        *("--deepspeed_multinode_launcher", "standard"),
    ]


def accelerated(words: list[str]) -> None:
    """Do as `accelerate launch`, which ends in a traceback of its own when what it started has failed."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch_command(launch_command_parser().parse_args(words))
    except subprocess.CalledProcessError as error:
        ended(error.returncode)
    except ChildFailedError as error:
        ended(min(failure.exitcode for failure in error.failures.values()))


def ended(code: int) -> None:
    """End as a process that ended with this code; below 0 it is the signal that killed it."""
    if code >= 0:
        sys.exit(code)
    raise UserError(
        f"a process of the training was killed by {signal.Signals(-code).name}, which a machine does that runs out of "
        "memory; run the same command again: one that has saved a state goes on from it"
    )


if __name__ == "__main__":
    run(main)
