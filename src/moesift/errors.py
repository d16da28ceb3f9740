"""Errors that a user can act on: one message instead of a traceback."""

import errno
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

# A full file system, and a quota that is used up. Libraries written in Rust pass on the number in words alone.
FULL = (errno.ENOSPC, errno.EDQUOT)


class UserError(Exception):
    """What was given cannot be used; the message says what is wrong and what would be right."""


def run(main: Callable[[], None]) -> None:
    """Call a stage's `main`; a UserError ends the process with its message on standard error and exit code 1.

    So does a full disk, wherever it was met: mostly a cache of a library, since `files.atomic_write` names the outputs.
    """
    try:
        main()
    except UserError as error:
        sys.exit(f"moesift: error: {error}")
    except Exception as error:
        if not is_full(error):
            raise
        sys.exit(f"moesift: error: the disk is full: {error}; make room, and run the same command again")


def is_full(error: BaseException) -> bool:
    """Return whether an error is that of a full disk, in whatever words a library puts it."""
    return getattr(error, "errno", None) in FULL or any(f"(os error {number})" in str(error) for number in FULL)


def full_disk(path: Path) -> UserError:
    """Return the error of a file or folder that could not be written for want of room."""
    free = shutil.disk_usage(path.parent).free
    return UserError(
        f"{path}: the disk is full: {free:,} bytes are free in {path.parent}; make room (`snakemake check` says how "
        "much each stage writes), and run the same command again"
    )
