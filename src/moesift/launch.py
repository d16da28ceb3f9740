"""Start a training on the processes that its accelerate file asks for, on one machine or on every node of a Slurm job.

python -m moesift.launch --nodes 2 --gpus 16 --threads 8 --config config/accelerate/zero2.yaml MODULE ARGUMENTS...

does the same as `accelerate launch`, on GPUs that are reserved for it. The command of a job of several nodes runs on
the first node only, so there it first starts itself by srun, once on each node. Slurm tells each one its number and
the address of the first.
"""

import argparse
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from moesift.errors import UserError, run
from moesift.gpus import reserve

IN_STEP = "SLURM_STEP_ID"  # set in what srun starts; Snakemake's plugin removes it from the command of several nodes


def main() -> None:
    """Run the module by accelerate, and end as it ends; if it was killed, with one message."""
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
        # The first node that fails ends the others, which would wait for it.
        step = ["srun", f"--nodes={args.nodes}", f"--ntasks={args.nodes}", "--ntasks-per-node=1"]
        step += ["--kill-on-bad-exit=1", f"--cpus-per-task={args.threads}"]
        os.execvp("srun", [*step, sys.executable, "-m", "moesift.launch", *sys.argv[1:]])
    # All that is heavy is imported in a fork: what is left here only says how it ended.
    if number := os.fork():
        signal.signal(signal.SIGTERM, lambda *_: os.kill(number, signal.SIGTERM))
        end_with(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch reads it
    from moesift.training.accelerate_file import read

    read(Path(args.config))
    reserve(args.gpus // args.nodes)
    words = ["--config_file", args.config, "--num_cpu_threads_per_process", str(args.threads)]
    accelerate([*words, *machines(args.nodes, os.environ), "-m", args.module, *args.arguments])


def files_of_launch(config: str | Path) -> list[str]:
    """Return the paths of an accelerate file and of the DeepSpeed file that it names, if it names one."""
    try:
        asked = yaml.safe_load(Path(config).read_text())
        named = asked["deepspeed_config"]["deepspeed_config_file"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # what is wrong with it is said where it is read
        return [str(config)]
    return [str(config), str(named)]


def machines(nodes: int, environment: Mapping[str, str]) -> list[str]:
    """Return accelerate's flags for the machines: the number of this one, and the address of the first."""
    if nodes == 1:
        with socket.socket() as free:  # two trainings on one machine need different ports
            free.bind(("127.0.0.1", 0))
            return ["--main_process_port", str(free.getsockname()[1])]
    return [
        *("--num_machines", str(nodes), "--machine_rank", environment["SLURM_NODEID"], "--same_network"),
        # srun was called on the first node. All nodes know the job's number, and no other job on the node has it.
        *("--main_process_ip", environment["SLURM_LAUNCH_NODE_IPADDR"]),
        *("--main_process_port", str(20_000 + int(environment["SLURM_JOB_ID"]) % 10_000)),
        *("--deepspeed_multinode_launcher", "standard"),
    ]


def accelerate(words: list[str]) -> None:
    """Do as `accelerate launch`, without its traceback when a process of the training has failed.

    One process that accelerate would start is this one, which has imported what it needs.
    """
    from accelerate.commands import launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    launch.simple_launcher = run_here  # ty: ignore[invalid-assignment]
    try:
        launch.launch_command(launch.launch_command_parser().parse_args(words))
    except subprocess.CalledProcessError as error:
        end_with(error.returncode)
    except ChildFailedError as error:
        end_with(min(failure.exitcode for failure in error.failures.values()))


def run_here(args: argparse.Namespace) -> None:
    """Run the module in this process, in the environment that accelerate would start it in."""
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    _, environment = prepare_simple_launcher_cmd_env(args)
    os.environ.update(environment)
    sys.argv[1:] = args.training_script_args
    runpy.run_module(args.training_script, run_name="__main__", alter_sys=True)


def end_with(code: int) -> None:
    """End as a process that ended with this code; a code below 0 is the signal that killed it."""
    if code >= 0:
        sys.exit(code)
    raise UserError(
        f"a process of the training was killed by {signal.Signals(-code).name}, as a machine without free memory does; "
        "run the same command again: it resumes from the last saved state"
    )


if __name__ == "__main__":
    run(main)
