import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from moesift import files
from moesift.errors import UserError, is_full, run
from moesift.files import atomic_write, lock, require_parquet


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def failing(path: Path, error: Exception) -> None:
    with atomic_write(path) as part:
        part.write_text("half")
        raise error


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    (tmp_path / "kept").write_text("before")
    with atomic_write(tmp_path / "kept") as part:
        part.write_text("half")
        assert (tmp_path / "kept").read_text() == "before"
    assert (tmp_path / "kept").read_text() == "half"
    assert names(tmp_path) == ["kept"]


def test_a_folder_replaces_the_one_that_was_there(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    with atomic_write(tmp_path / "model") as part:
        part.mkdir()
        (part / "new").write_text("weights")
    assert names(tmp_path) == ["model", "new"]


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        failing(tmp_path / "deep" / "file", KeyError())
    assert names(tmp_path) == ["deep"]


# Of Python, of Rust's standard library by way of polars and of safetensors.
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_names_the_file_and_the_room(tmp_path, error):
    with pytest.raises(UserError, match=rf"^{tmp_path}/file: the disk is full: [\d,]+ bytes are free in {tmp_path};"):
        failing(tmp_path / "file", error)
    assert names(tmp_path) == []
    assert not is_full(OSError(errno.EACCES, "Permission denied"))


def test_a_full_disk_elsewhere_is_one_message(capsys):
    def main():
        raise OSError(errno.ENOSPC, "No space left on device", "/cache/of/a/library")

    with pytest.raises(SystemExit) as ended:
        run(main)
    assert "moesift: error: the disk is full: [Errno 28] No space left on device: '/cache/of/a/library'" in str(ended)


def test_what_a_killed_writer_left_is_swept_and_a_living_one_is_left_alone(tmp_path):
    writing = (
        "import os, signal, sys; from pathlib import Path; from moesift.files import atomic_write\n"
        f"with atomic_write(Path({str(tmp_path / 'file')!r})) as part:\n"
        "    part.write_text('half'); print('written', flush=True)\n"
        "    os.kill(os.getpid(), getattr(signal, sys.argv[1]))\n"
    )
    alive = subprocess.Popen([sys.executable, "-c", writing, "SIGSTOP"], stdout=subprocess.PIPE)
    assert alive.stdout.readline() == b"written\n"
    assert subprocess.run([sys.executable, "-c", writing, "SIGKILL"]).returncode == -signal.SIGKILL
    assert names(tmp_path).count("file") == 2
    with atomic_write(tmp_path / "file") as part:
        part.write_text("whole")
    assert names(tmp_path).count("file") == 2  # what the living one writes, and ours
    assert (tmp_path / "file").read_text() == "whole"
    alive.kill()
    alive.communicate()
    with atomic_write(tmp_path / "file") as part:
        part.write_text("again")
    assert names(tmp_path) == ["file"]


def test_a_file_system_without_locks_will_do(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    (tmp_path / ".file.left.part").mkdir()
    with atomic_write(tmp_path / "file") as part:
        part.write_text("whole")
    assert names(tmp_path) == [".file.left.part", "file"]  # whose it is cannot be told


def test_writers_of_one_folder_do_not_disturb_each_other(tmp_path):
    writing = (
        "import sys; from pathlib import Path; from moesift.files import atomic_write\n"
        "for _ in range(25):\n"
        f"    with atomic_write(Path({str(tmp_path / 'model')!r})) as part:\n"
        "        part.mkdir(); (part / 'a').write_text(sys.argv[1]); (part / 'b').write_text(sys.argv[1])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", writing, name]) for name in "xyz"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert names(tmp_path) == ["a", "b", "model"]
    assert (tmp_path / "model" / "a").read_text() == (tmp_path / "model" / "b").read_text()


def test_a_lock_is_held_once(tmp_path):
    handle = lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        lock(tmp_path / "lock")
    os.close(handle)
    os.close(lock(tmp_path / "lock"))


def test_a_parquet_that_ends_early_is_named(tmp_path):
    file = tmp_path / "pool.parquet"
    pl.DataFrame({"id": ["a", "b"]}).write_parquet(file)
    assert require_parquet(str(file)) == file
    for content in (file.read_bytes()[:-1], b"", b"no parquet at all"):
        file.write_bytes(content)
        with pytest.raises(
            UserError, match=rf"^{file}: cannot be read as parquet: .*; if the workflow made it, remove"
        ):
            require_parquet(str(file))
    file.unlink()
    with pytest.raises(UserError, match=rf"^{file}: cannot be read as parquet: No such file"):
        require_parquet(str(file))
