"""A live view of a training: its numbers as event files, which TensorBoard shows while it runs."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from moesift.errors import UserError

FLUSH = 5  # seconds until a number is in the file

Show = Callable[[int, Mapping[str, float]], None]


@contextlib.contextmanager
def view(folder: Path | None) -> Generator[Show]:
    """Yield a function that writes the numbers of a step, by name, into event files; without a folder it does nothing.

    Numbers that a killed job wrote of steps that are now repeated are removed from the curves.

    Raises:
        UserError: a folder is given, but the package that writes event files is missing.
    """
    if folder is None:
        yield lambda step, numbers: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and an optional dependency
    except ImportError as error:
        raise UserError(
            f"throughput.live: needs the package tensorboard (pip install 'moesift[live]'): {error}"
        ) from error
    with contextlib.ExitStack() as stack:
        writers: list[SummaryWriter] = []  # at most one, opened when its first step is known

        def show(step: int, numbers: Mapping[str, float]) -> None:
            if not writers:
                writers.append(stack.enter_context(SummaryWriter(str(folder), purge_step=step, flush_secs=FLUSH)))
            for name, value in numbers.items():
                writers[0].add_scalar(name, value, step)

        yield show
