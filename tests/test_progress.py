import io
import sys
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from moesift import progress


@pytest.fixture
def sleep(monkeypatch):
    """What advances the clock of the module and of tqdm, which stand still otherwise."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    def advance(seconds):
        now[0] += seconds

    return advance


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_a_few_lines(capsys, sleep):
    """A thousand tokens in 8.1 seconds, and a line every 30."""
    losses = []
    for item in progress.steps(range(10), [1000] * 10, "train", status=lambda: f"nll {losses[-1]:.3f}"):
        sleep(8.1)
        losses.append(5 - item / 10)
    assert losses == [5 - item / 10 for item in range(10)]
    assert capsys.readouterr().err.splitlines() == [
        "train: 40%, 123 tokens/s, 00:48 left, step 4 of 10, nll 4.700",
        "train: 80%, 123 tokens/s, 00:16 left, step 8 of 10, nll 4.300",
    ]


def test_a_file_gets_nothing_from_a_short_loop(capsys):
    assert list(progress.steps("abc", [1, 2, 3], "quick")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_items_that_were_done_before_count_and_are_not_yielded(capsys, monkeypatch, sleep):
    monkeypatch.setattr(progress, "EVERY", 0)
    items = []
    for item in progress.steps("abcd", [30, 30, 20, 20], "resumed", start=2):
        items.append(item)
        sleep(0.6)
    assert items == ["c", "d"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("resumed: 60%")
    assert any("80%" in line and "step 3 of 4" in line for line in lines)


def test_a_terminal_gets_a_bar_from_the_main_process(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress.steps("abc", [1, 1, 1], "other", shown=False)) == ["a", "b", "c"]
    assert terminal.getvalue() == ""
    list(progress.steps("abc", [1, 1, 1], "bar"))
    assert "\rbar:   0%|" in terminal.getvalue()
    assert "\rbar: 100%|" in terminal.getvalue()


def test_bars_of_libraries_become_lines_and_other_text_stays(capsys, sleep):
    with progress.plain():
        for _ in tqdm(range(10), desc="foreign", mininterval=0):
            sleep(9)
        print("a warning\nof two lines", file=sys.stderr)
    *bars, first, second = capsys.readouterr().err.splitlines()
    assert 1 <= len(bars) <= 3
    assert all(line.startswith("foreign: ") and "\r" not in line for line in bars)
    assert (first, second) == ("a warning", "of two lines")
