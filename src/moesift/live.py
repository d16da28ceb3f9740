"""A live view of a training: its numbers as event files that TensorBoard shows while it runs."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from moesift.errors import UserError

FLUSH = 5  # seconds until a number is in the file

Show = Callable[[int, Mapping[str, float]], None]


@contextlib.contextmanager
def view(folder: Path | None) -> Generator[Show]:
    """Give what writes the numbers of a step, by their names, into event files of a folder; none writes nothing.

    What a job that was killed had shown of steps that are now done again is taken back.

    Raises:
        UserError: a folder is given and the package that writes event files is missing.
    """
    if folder is None:
        yield lambda step, numbers: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and an extra
    except ImportError as error:
        raise UserError(
            f"throughput.live: needs the package tensorboard (pip install 'moesift[live]'): {error}"
        ) from error
    with contextlib.ExitStack() as stack:
        writers: list[SummaryWriter] = []  # one, when it is known at which step it begins

        def show(step: int, numbers: Mapping[str, float]) -> None:
            if not writers:
                writers.append(stack.enter_context(SummaryWriter(str(folder), purge_step=step, flush_secs=FLUSH)))
            for name, value in numbers.items():
                writers[0].add_scalar(name, value, step)

        yield show
