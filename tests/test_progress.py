import io
import sys
import time

from tqdm import tqdm

from moesift import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_a_few_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.2)
    losses = []
    for item in progress.steps(range(10), [1000] * 10, "train", status=lambda: f"nll {losses[-1]:.3f}"):
        time.sleep(0.06)
        losses.append(5 - item / 10)
    output = capsys.readouterr().err
    lines = output.splitlines()
    assert losses == [5 - item / 10 for item in range(10)]
    assert 1 <= len(lines) <= 3
    assert "\r" not in output
    name, _, rest = lines[0].partition(": ")
    share, speed, left, step, status = rest.split(", ")
    number = int(step.split()[1])
    assert (name, share, step) == ("train", f"{number * 10}%", f"step {number} of 10")
    assert status == f"nll {5 - (number - 1) / 10:.3f}"
    assert speed.endswith("k tokens/s")
    assert 10 < float(speed.removesuffix("k tokens/s")) < 20
    assert left == "00:00 left"


def test_a_file_gets_nothing_from_a_short_loop(capsys):
    assert list(progress.steps("abc", [1, 2, 3], "quick")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_items_that_were_done_before_count_and_are_not_yielded(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    items = []
    for item in progress.steps("abcd", [30, 30, 20, 20], "resumed", start=2):
        items.append(item)
        time.sleep(0.6)
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


def test_bars_of_libraries_become_lines_and_other_text_stays(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.1)
    with progress.plain():
        for _ in tqdm(range(10), desc="foreign", mininterval=0):
            time.sleep(0.03)
        print("a warning\nof two lines", file=sys.stderr)
    *bars, first, second = capsys.readouterr().err.splitlines()
    assert 1 <= len(bars) <= 3
    assert all(line.startswith("foreign: ") and "\r" not in line for line in bars)
    assert (first, second) == ("a warning", "of two lines")
