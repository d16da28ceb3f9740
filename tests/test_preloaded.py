"""Commands by the Python that has its libraries in memory end as those of a plain one."""

import os
import signal
import subprocess
import sys
import time

import pytest

SAYS = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['MINE']); sys.exit(3)"


def test_words_folder_environment_streams_and_exit_code_are_the_commands_own(python, tmp_path):
    for interpreter in (python, sys.executable):
        command = [interpreter, "-c", SAYS, "two words", "b"]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"MINE": "x"}, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (3, f"['two words', 'b'] {tmp_path} x\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_client_ends_the_command(python, tmp_path, number):
    program = f"import os, time; print(os.getpid(), flush=True); time.sleep(60); open({str(tmp_path / 'x')!r}, 'w')"
    client = subprocess.Popen([python, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(client.stdout.readline())
    client.send_signal(number)
    assert client.wait() == -number
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and os.path.exists(f"/proc/{worker}"):
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")


def test_a_command_has_its_python_and_its_snakemake_and_leaves_no_server():
    program = "command -v python; command -v snakemake; python -c 'import os; print(os.getppid())'; exit 4"
    command = [sys.executable, "-m", "moesift.preloaded", "bash", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    python, snakemake, server = done.stdout.split()
    assert done.returncode == 4
    assert (os.path.basename(python), os.path.basename(snakemake)) == ("python", "snakemake")
    assert os.path.dirname(python) == os.path.dirname(snakemake)
    assert not os.path.exists(python)
    assert not os.path.exists(f"/proc/{server}")
