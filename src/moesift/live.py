"""A live view of a training: its numbers as event files, which TensorBoard shows while it runs."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

FLUSH = 5  # seconds until a number is in the file

Show = Callable[[int, Mapping[str, float]], None]


@contextlib.contextmanager
def view(folder: Path | None) -> Generator[Show]:
    """Yield a function that writes the numbers of a step, by name, into event files; without a folder it does nothing.

    Numbers that a killed job wrote of steps that are now repeated are removed from the curves. The configuration has
    been checked for the package.
    """
    if folder is None:
        yield lambda step, numbers: None
        return
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and an optional dependency

    with contextlib.ExitStack() as stack:
        writers: list[SummaryWriter] = []  # at most one, opened when its first step is known

        def show(step: int, numbers: Mapping[str, float]) -> None:
            if not writers:
                writers.append(stack.enter_context(SummaryWriter(str(folder), purge_step=step, flush_secs=FLUSH)))
            for name, value in numbers.items():
                writers[0].add_scalar(name, value, step)

        yield show
