import io
import sys
import time

import pytest
from tqdm import tqdm

from moesift import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.2)
    losses = []
    for item in progress.steps(range(10), [1000] * 10, "train", told=lambda: f"{losses[-1]:.3f} nats"):
        time.sleep(0.06)
        losses.append(5 - item / 10)
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert losses == [5 - item / 10 for item in range(10)]
    assert 1 <= len(lines) <= 3
    assert "\r" not in said
    name, _, said = lines[0].partition(": ")
    done, speed, left, step, nats = said.split(", ")
    number = int(step.split()[1])
    assert (name, done, step, nats) == (
        "train",
        f"{number * 10}%",
        f"step {number} of 10",
        f"{5 - (number - 1) / 10:.3f} nats",
    )
    assert speed.endswith("k tokens/s")
    assert 10 < float(speed.removesuffix("k tokens/s")) < 20
    assert left == "00:00 left"


def test_what_is_soon_done_says_nothing_in_a_file(capsys):
    assert list(progress.steps("abc", [1, 2, 3], "quick")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_what_was_done_before_counts_and_is_not_yielded(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    seen = []
    for item in progress.steps("abcd", [30, 30, 20, 20], "resumed", start=2):
        seen.append(item)
        time.sleep(0.6)
    assert seen == ["c", "d"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("resumed: 60%")
    assert any("80%" in line and "step 3 of 4" in line for line in lines)


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "EVERY", 0)
    list(progress.steps("abc", [1, 1, 1], "bar"))
    assert "\rbar:   0%|" in terminal.getvalue()
    assert "\rbar: 100%|" in terminal.getvalue()


def test_processes_that_are_not_the_main_one_show_nothing(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress.steps("abc", [1, 1, 1], "bar", shown=False)) == ["a", "b", "c"]
    assert terminal.getvalue() == ""


def test_other_bars_become_lines_and_words_stay(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.1)
    with progress.plain():
        for _ in tqdm(range(10), desc="foreign", mininterval=0):
            time.sleep(0.03)
        print("a warning\nof two lines", file=sys.stderr)
    *bars, first, second = capsys.readouterr().err.splitlines()
    assert 1 <= len(bars) <= 3
    assert all(line.startswith("foreign: ") and "\r" not in line for line in bars)
    assert (first, second) == ("a warning", "of two lines")


def test_an_error_in_the_loop_comes_out(capsys):
    def loop():
        for item in progress.steps("abc", [1, 1, 1], "broken"):
            raise KeyError(item)

    with pytest.raises(KeyError, match="a"):
        loop()
