"""The progress of a long loop: a bar at a terminal, and a line every half minute where the output is a file."""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines in a file
BAR = "{desc}: {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}"
LINE = "{desc}: {percentage:.0f}%, {rate_fmt}, {remaining} left{postfix}"

Item = TypeVar("Item")


class Lines:
    """A text stream that writes tqdm's bars as lines, one every EVERY seconds, and passes on all other text."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.last = time.monotonic()
        self.in_bar = False

    def write(self, text: str) -> int:
        """Write text; a bar, which begins with a carriage return, is dropped unless it is time for a line."""
        if text.startswith("\r"):
            self.in_bar = True
            if text.strip() and time.monotonic() - self.last >= EVERY:
                self.last = time.monotonic()
                self.stream.write(text.strip() + "\n")
        elif not self.in_bar or text.strip("\n\x1b[A"):  # tqdm ends a bar with line breaks and cursor movements
            self.in_bar = False
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()


def steps(
    items: Iterable[Item],
    sizes: Sequence[int],
    name: str,
    *,
    start: int = 0,
    unit: str = "tokens",
    status: Callable[[], str] | None = None,
    shown: bool = True,
) -> Iterator[Item]:
    """Yield the items, and show the share that is done, the units per second and the time left.

    Args:
        items: to loop over.
        sizes: of each item, in units.
        name: of the loop.
        start: number of items that an interrupted job has done already; they are not yielded.
        unit: of the sizes.
        status: called after each item for more text to show, such as the last loss.
        shown: whether to show anything.
    """
    terminal = sys.stderr.isatty()
    with tqdm(
        total=sum(sizes),
        initial=sum(sizes[:start]),
        desc=name,
        unit=f" {unit}",
        unit_scale=True,
        bar_format=BAR if terminal else LINE,
        file=sys.stderr if terminal else Lines(sys.stderr),
        mininterval=0.5,
        miniters=1,
        position=None if terminal else 0,  # a nested bar in a file is a line like any other
        leave=None,  # at a terminal, remove a nested bar at its end
        disable=not shown,
    ) as bar:
        rest = itertools.islice(zip(items, sizes, strict=True), start, None)
        for number, (item, size) in enumerate(rest, start + 1):
            yield item
            texts = [f"step {number:,} of {len(sizes):,}", *([status()] if status else [])]
            bar.set_postfix_str(", ".join(texts), refresh=False)
            bar.update(size)


@contextlib.contextmanager
def plain() -> Generator[None]:
    """Write the bars of libraries as lines too, where the output is a file."""
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(Lines(sys.stderr)):
        yield
