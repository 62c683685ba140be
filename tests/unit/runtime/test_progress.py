"""Lines that say how far something is: in a terminal of 80 columns, and in a pipe."""

import io
import re

import pytest
from rich.text import Text

from ssl_runner.runtime import progress
from ssl_runner.runtime.progress import Shown
from ssl_runner.runtime.terminal import Terminal

SAID = "loss 2.3026  123,456 examples/s  59 min 59 s left"


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_terminal_one_line_holds_all(width: int) -> None:
    out = io.StringIO()
    shown = Shown(Terminal(file=out, force_terminal=True, width=width), "pretraining")
    shown.show(0.0, SAID)
    shown.show(0.995, SAID)
    shown.close()
    lines = [Text.from_ansi(line).plain for line in re.split(r"[\r\n]+", out.getvalue())]
    assert all(len(line) <= width for line in lines)
    assert any(re.fullmatch(rf"pretraining .* 100%  {SAID}", line.strip()) for line in lines), lines


def test_elsewhere_lines_come_by_tenths_and_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    shown = Shown(Terminal(file=out), "pretraining")
    for done, after in ((0.001, 0), (0.05, 1), (0.1, 1), (0.11, 1), (0.12, progress.SECONDS), (1.0, 1)):
        now[0] += after
        shown.show(done, f"loss {done}")
    shown.close()
    assert out.getvalue() == (
        "pretraining   0%  loss 0.001\npretraining  10%  loss 0.1\npretraining  12%  loss 0.12\n"
        "pretraining 100%  loss 1.0\n"
    )


def test_a_second_line_is_silent_and_what_is_done_soon_is_not_shown() -> None:
    out = io.StringIO()
    console = Terminal(file=out)
    first, second, patient = Shown(console, "first"), Shown(console, "second"), Shown(console, "third", patience=9)
    patient.show(0.5, "")
    first.show(0.5, "")
    second.show(0.5, "")
    first.close()
    second.show(0.6, "")
    second.close()
    assert out.getvalue() == "first  50%\nsecond  60%\n"


def test_in_a_pipe_no_line_is_broken_or_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table

    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    table = Table(title="a title")
    table.add_column("name")
    table.add_column("path")
    table.add_row("a", "/a/very/long/path" * 10)
    table.add_row("longer", "b")
    Terminal(file=out).print(table)
    Terminal(file=out).print("x" * 300 + " y  ")
    lines = out.getvalue().splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert sum("/a/very/long/path" * 10 in line for line in lines) == 1
    assert lines[-1] == "x" * 300 + " y"
