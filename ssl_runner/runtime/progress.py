"""A line that says how far something is: in place where that can be, and as lines from time to time elsewhere."""

import time
from collections.abc import Callable
from typing import ClassVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ssl_runner.runtime.terminal import notebook_line

TENTHS = 10  # lines of what is printed, at most, by how much is done
SECONDS = 30.0  # and, where that takes longer, after so many seconds
REDRAWN = 0.1  # seconds between two pictures of a line in place
BAR = 20  # columns of the bar, so that 80 columns suffice for the whole line


def duration(seconds: float) -> str:
    """
    >>> duration(8), duration(200), duration(7800)
    ('8 s', '3 min 20 s', '2 h 10 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Shown:
    """How far something is, in one line: a second one, while the first is open, is silent.

    doing: in a word or two; it may be changed. patience: seconds in which nothing is shown, for what is often done
    sooner. apart: seconds between two lines that are printed, at least. transient: a terminal keeps nothing of it.
    """

    _open: ClassVar["Shown | None"] = None

    def __init__(
        self, console: Console, doing: str, *, patience: float = 0.0, apart: float = 0.0, transient: bool = False
    ) -> None:
        self.console = console
        self.doing = doing
        self._due = time.monotonic() + patience
        self._apart = apart
        self._transient = transient
        self._begun = False
        self._bar: Progress | None = None  # in a terminal
        self._line: Callable[[str], None] | None = None  # in a notebook
        self._last = -SECONDS
        self._tenth = -1

    def show(self, done: float | None, said: str) -> None:
        """done: the part that is, in [0, 1]; None: not known. said: what else there is to say."""
        now = time.monotonic()
        if self.console.quiet or now < self._due or (Shown._open or self) is not self:
            return
        if not self._begun:
            self._begin()
        text = said if done is None else f"{done:4.0%}  {said}".rstrip()
        tenth = 0 if done is None else int(done * TENTHS)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, description=self.doing, text=text)
        elif self._line is not None:
            if now - self._last >= REDRAWN or done == 1:
                self._last = now
                self._line(f"{self.doing} {text}")
        elif (tenth != self._tenth and now - self._last >= self._apart) or now - self._last >= SECONDS:
            self._last, self._tenth = now, tenth
            self.console.print(f"{self.doing} {text}", soft_wrap=True)

    def _begin(self) -> None:
        self._begun, Shown._open = True, self
        if self.console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(bar_width=BAR), TextColumn("{task.fields[text]}")
            self._bar = Progress(*columns, console=self.console, transient=self._transient)
            self._bar.add_task(self.doing, total=1.0, text="")
            self._bar.start()
        else:
            self._line = notebook_line()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._line is not None and self._transient:
            self._line("")
        if Shown._open is self:
            Shown._open = None
        self._begun, self._line = False, None
