"""How far a long loop is: a bar at a terminal, and a plain line now and then where the output is a file."""

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

from tqdm import tqdm

EVERY = 30.0  # seconds between two lines in a file; what is done sooner says nothing

BAR = "{desc}: {percentage:3.0f}%|{bar}| {rate_fmt}, {remaining} left{postfix}"
LINE = "{desc}: {percentage:.0f}%, {rate_fmt}, {remaining} left{postfix}"

Item = TypeVar("Item")


class Lines:
    """A text stream that makes lines of the bars written to it, one every EVERY seconds, and passes on all else.

    A bar begins with a carriage return, which would leave a file with one line of a thousand bars.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.said = time.monotonic()
        self.in_bar = False

    def write(self, text: str) -> int:
        """Write a bar as a line if it is time for one, and what is no bar as it is."""
        if text.startswith("\r"):
            self.in_bar = True
            if text.strip() and time.monotonic() - self.said >= EVERY:
                self.said = time.monotonic()
                self.stream.write(text.strip() + "\n")
        elif not self.in_bar or text.strip("\n\x1b[A"):  # where a bar ends, the cursor moves
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
    told: Callable[[], str] | None = None,
    shown: bool = True,
) -> Iterator[Item]:
    """Yield the items, and show what share of them is done, how many units a second, and the time left.

    Args:
        items: what a loop goes over.
        sizes: of each item, in units.
        name: of the loop.
        start: items that were done before, by a job that was killed; they are not yielded.
        unit: what is counted.
        told: gives what is to be said beside that, such as the last loss; asked when an item is done.
        shown: False shows nothing, as in all processes but the main one.
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
        position=None if terminal else 0,  # in a file a bar within a bar is a line like any other
        leave=None,  # at a terminal nothing stays of a bar within a bar
        disable=not shown,
    ) as bar:
        rest = itertools.islice(zip(items, sizes, strict=True), start, None)
        for number, (item, size) in enumerate(rest, start + 1):
            yield item
            about = [f"step {number:,} of {len(sizes):,}", *([told()] if told else [])]
            bar.set_postfix_str(", ".join(about), refresh=False)
            bar.update(size)


@contextlib.contextmanager
def plain() -> Generator[None]:
    """Make lines of the bars that a library shows, where the output is a file."""
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(Lines(sys.stderr)):
        yield
