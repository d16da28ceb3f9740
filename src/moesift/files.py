"""Files that are there whole or not at all, and one message where one can be neither written nor read.

Snakemake deletes what a failed job has written, and makes again what a killed one has left, as far as its own notes
reach. A stage that is run by hand, a job that outlives its Snakemake, notes that are lost: none of them may leave half
a file under a name that a later run takes for complete.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from moesift.errors import UserError, full_disk, is_full

LOCK = "lock"


@contextlib.contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Yield a path to write a file or a folder to; it gets the name `path` once the block has ended well.

    It is written into a folder beside, synced (over a network a full disk may show no earlier) and renamed. What
    writers of `path` that were killed have left there is removed. Of several writers the last one stays.

    Raises:
        UserError: the disk is full; the message names `path` and the free space.
    """
    held = contextlib.ExitStack()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(path.parent) as alone:  # until its lock is held, another writer would take the place for left
            if alone:
                _sweep(path)
            place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
            with contextlib.suppress(OSError):
                held.callback(os.close, lock(place / LOCK))
    except OSError as error:
        raise full_disk(path) if is_full(error) else error from None
    try:
        with held:
            part = place / path.name
            yield part
            for written in (*part.rglob("*"), part):
                _sync(written)
            with _alone_in(path.parent):
                if path.is_dir():
                    path.rename(place / "replaced")  # a folder cannot be renamed over one that is there
                part.rename(path)
            _sync(path.parent)
    except Exception as error:
        if is_full(error):
            raise full_disk(path) from error
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


def lock(path: Path) -> int:
    """Return the handle of a file that is locked until the handle is closed, or the process ends, however it ends.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: the file system has no locks, as Lustre has none unless it is mounted with them.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def require_parquet(name: str | Path) -> Path:
    """Return the path of a parquet file that is to be read.

    Raises:
        UserError: it is not there, or no complete parquet file: its footer, which is written last, is looked at.
    """
    import polars as pl  # a third of a second, in which a plan is made that reads no file

    path = Path(name)
    try:
        pl.read_parquet_schema(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"{path}: cannot be read as parquet: {error}; if the workflow made it, remove it, and the same command "
            "makes it again"
        ) from None
    return path


@contextlib.contextmanager
def _alone_in(folder: Path) -> Generator[bool]:
    """Wait until no other process is in this block for a folder; yield whether that can be told."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks, or with none on folders
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    """Remove what writers of `path` that no longer live have left."""
    for place in path.parent.iterdir():
        if place.name.startswith(f".{path.name}.") and place.name.endswith(".part"):
            with contextlib.suppress(OSError):  # its writer lives, or has just renamed it
                handle = lock(place / LOCK)
                shutil.rmtree(place)
                os.close(handle)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
