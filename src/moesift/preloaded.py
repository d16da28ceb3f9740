"""Run a workflow of many small jobs by a Python that has its libraries in memory: a job starts at once.

python -m moesift.preloaded snakemake --cores all

To import torch, transformers, peft and lm-eval takes a job seven seconds or more, which is most of a small one. Here a
server imports them once and forks for each job of this machine. Its client, an executable that stands for the
interpreter, hands it the words, the folder, the environment and the standard streams, and ends as the fork ends; what
kills the client kills the fork. The code of moesift is imported by the forks alone, so each runs what there is when it
starts. Jobs that a cluster runs are started as ever.
"""

import array
import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import NoReturn

LIBRARIES = (
    "accelerate.commands.launch",
    "datasets",
    "jinja2",
    "lm_eval.models.huggingface",
    "lm_eval.tasks",
    "matplotlib.pyplot",
    "peft",
    "polars",
    "pydantic",
    "sklearn.linear_model",
    "scipy.stats",
    "snakemake.cli",
    "torch.distributed.run",
    "transformers.models.olmoe.modeling_olmoe",
    "transformers.models.llama.modeling_llama",
)
CLIENT = r"""
import array, json, os, signal, socket, sys
python, server, words = sys.argv[1], sys.argv[2], sys.argv[3:]
given = words[1:] if words[:1] == ["-u"] else words
if given[:1] not in (["-m"], ["-c"]):
    os.execv(python, [python, *words])
connection = socket.socket(socket.AF_UNIX)
connection.connect(server)
said = json.dumps({"words": given, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
streams = array.array("i", [0, 1, 2])
connection.sendmsg([len(said).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
connection.sendall(said)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: connection.send(bytes([number])))
status = connection.recv(2)
code = os.waitstatus_to_exitcode(int.from_bytes(status, "big"))
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def main(command: list[str]) -> int:
    """Run a command, with a `python` and a `snakemake` of the server first in its PATH, and return its exit code."""
    if not command:
        print("usage: python -m moesift.preloaded snakemake ...", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="moesift-") as folder, preloaded(Path(folder)):
        path = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        with subprocess.Popen(command, env=os.environ | {"PATH": path}) as started:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command has it from the terminal as well
            signal.signal(signal.SIGTERM, lambda *_: started.terminate())
            code = started.wait()
    return 128 - code if code < 0 else code


@contextlib.contextmanager
def preloaded(folder: Path, **variables: str) -> Generator[str]:
    """Start the server and yield the path of the client, to use in the place of `sys.executable`.

    It is called python, and beside it is a snakemake that it runs. The libraries are imported with the variables in the
    environment.
    """
    client, listens, snakemake = folder / "python", folder / "server", folder / "snakemake"
    words = [sys.executable, "-I", "-S", "-c", CLIENT, sys.executable, str(listens)]
    client.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    snakemake.write_text(f'#!/bin/sh\nexec {shlex.quote(str(client))} -m snakemake "$@"\n')
    client.chmod(0o755)
    snakemake.chmod(0o755)
    # A session of its own: the clients pass on what a terminal interrupts. -P: a folder of moesift is no library.
    server = subprocess.Popen(
        [sys.executable, "-P", __file__, str(listens), str(client)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | variables,
    )
    try:
        while not listens.exists():
            if server.poll() is not None:
                raise RuntimeError(f"the server of the preloaded Python ended with {server.returncode}")
            time.sleep(0.05)
        yield str(client)
    finally:
        server.kill()
        server.wait()


def wait(listens: Path) -> tuple[dict, list[int]]:
    """Import the libraries, then return a command and its streams in a fork for each that is sent."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # or the first collection of each fork would copy all of it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(listens.with_suffix(".part")))
        listener.listen(64)
        listens.with_suffix(".part").rename(listens)
        while True:
            ready, *_ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:  # closed: whoever started the server has ended
                os._exit(0)
            connection, _ = listener.accept()
            if not os.fork():
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, passed, *_ = connection.recvmsg(4, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i", passed[0][2]).tolist()
    said = b""
    while len(said) < int.from_bytes(size, "big"):
        said += connection.recv(65536)
    if number := os.fork():
        for stream in streams:
            os.close(stream)
        watch(connection, number)
    connection.close()
    return json.loads(said), streams


def watch(connection: socket.socket, number: int) -> None:
    """Pass the client's signals on to the fork, and then its end to the client."""
    handle = os.pidfd_open(number)
    ready: list = []
    while handle not in ready:
        ready, *_ = select.select([connection, handle], [], [])
        if connection in ready and handle not in ready:
            sent = connection.recv(1)
            os.kill(number, sent[0] if sent else signal.SIGKILL)
            if not sent:
                os._exit(0)
    with contextlib.suppress(OSError):
        connection.send(os.waitpid(number, 0)[1].to_bytes(2, "big"))
    os._exit(0)


def run(words: list[str]) -> int:
    """Run `-m` or `-c` to the end, with its threads and what is to be done after them, and return the exit code."""
    code: object = 0
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            exec(words[1], {"__name__": "__main__"})
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # ty: ignore[missing-attribute]
    atexit._run_exitfuncs()
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code or 0


def serve() -> NoReturn:
    """Be the server; in each fork, run its command."""
    command, streams = wait(Path(sys.argv[1]))
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.executable = sys.argv[2]
    paths = command["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [command["folder"], *filter(None, paths)]  # as `python -m` has it: the folder first
    sys.argv = command["words"][1:] if command["words"][0] == "-m" else ["-c", *command["words"][2:]]
    # Not as a program ends: to free all that the libraries hold takes another two seconds.
    os._exit(run(command["words"]))


if __name__ == "__main__":
    if __spec__ is None:  # started as a file
        serve()
    sys.exit(main(sys.argv[1:]))
