"""A Slurm of two nodes with two fake GPUs each, on this host: the real daemons, with a configuration of their own."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# Where job steps look for the configuration: the jobstep plugin takes SLURM_CONF from their environment.
SYSTEM = Path("/etc/slurm/slurm.conf")
NODES = ("n1", "n2")
FIRST_LINE = "ClusterName=moesift\n"


def missing() -> str | None:
    """Return why no Slurm can be started here, or None where it can."""
    for program in ("munged", "slurmctld", "slurmd", "sbatch", "setpriv", "which"):
        if shutil.which(program) is None:
            return f"{program} is not installed (apt-get install -y slurm-wlm munge)"
    if os.geteuid() != 0:
        return "only root can start slurmd"
    if SYSTEM.is_file() and SYSTEM.read_text().startswith(FIRST_LINE) and not states():
        SYSTEM.unlink()  # a run that was killed has left it
    if os.path.lexists(SYSTEM):
        return f"{SYSTEM} is there: this machine has a Slurm of its own"
    return None


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[None]:
    """Run munged, slurmctld and two slurmd from `folder` until the block ends.

    The nodes claim 16 CPUs and 512 GB each, of which nothing is enforced but time limits.

    Raises:
        TimeoutError: the nodes are not idle within half a minute; the message holds the daemons' last words.
    """
    for name in ("spool", "state", *NODES):
        (folder / name).mkdir()
    for number, device in enumerate(("/dev/null", "/dev/zero")):  # slurmd takes nothing but a device for a GPU
        (folder / f"gpu{number}").symlink_to(device)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1] Flags=nvidia_gpu_env\n")
    (folder / "slurm.conf").write_text(configuration(folder))
    munged = ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
    environment = os.environ | {"SLURM_CONF": f"{folder}/slurm.conf"}
    daemons = []
    SYSTEM.symlink_to(folder / "slurm.conf")
    try:
        for name, command in (
            ("munged", munged),
            ("slurmctld", ["slurmctld", "-D"]),
            *((node, ["slurmd", "-D", "-N", node]) for node in NODES),
        ):
            with open(folder / f"{name}.out", "w") as words:
                bound = ["setpriv", "--pdeathsig", "TERM", *command]  # they end with this process, however it ends
                daemons.append(
                    subprocess.Popen(bound, env=environment, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
                )
            if name == "munged":
                waited(lambda: (folder / "munge.socket").exists(), folder)
        waited(lambda: states() == ["idle", "idle"], folder)
        yield
    finally:
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        SYSTEM.unlink()


def configuration(folder: Path) -> str:
    """Return a slurm.conf that schedules within a second and needs neither cgroups nor accounting."""
    controller, *ports = free_ports(3)
    host = socket.gethostname()
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=512000 Gres=gpu:2"
        for node, port in zip(NODES, ports, strict=True)
    )
    return f"""{FIRST_LINE}SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
ReturnToService=2
MinJobAge=7200
KillWait=1
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
{nodes}
PartitionName=fake Nodes={",".join(NODES)} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(number: int) -> list[int]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def states() -> list[str]:
    """Return the nodes' states, none while the controller does not answer."""
    return subprocess.run(["sinfo", "-hN", "-o", "%T"], capture_output=True, text=True).stdout.split()


def waited(done, folder: Path, seconds: float = 30) -> None:
    """Wait until `done()`; past `seconds`, raise what the daemons last said."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            words = "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in sorted(folder.glob("*.out")))
            raise TimeoutError(f"no Slurm after {seconds} seconds\n{words}")
        time.sleep(0.2)


def jobs() -> list[dict[str, str]]:
    """Return all jobs of the last quarter of an hour, as `scontrol show job` tells them."""
    shown = subprocess.run(["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True).stdout
    return [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in shown.splitlines() if line.startswith("JobId=")]
