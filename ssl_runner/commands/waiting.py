"""What is shown while data are read and while encoders are evaluated: what, how far it is, and the time left."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ssl_runner.data.any.progress import heard
from ssl_runner.results.status import Status, write_status
from ssl_runner.runtime.progress import Shown, duration
from ssl_runner.runtime.terminal import in_notebook

PATIENCE = 0.5  # seconds before a line is shown in place
LONG = 10.0  # seconds before, and between, lines that are printed one after the other, where none can be in place
SOON = 0.02  # part of a loop before which its time left is not known
WRITES = 1.0  # seconds between two writes of the status


@contextmanager
def waiting(console: Console, what: str = "", folder: Path | None = None) -> Iterator[None]:
    """Show how far the loops inside are (`data.any.progress`).

    what: "evaluating 3 of 12: linear, random start", which is said already, and again with each loop where lines cannot
    be in place. folder: of the run whose status says the same.
    """
    in_place = console.is_terminal or in_notebook()
    shown = Shown(console, "", patience=PATIENCE if in_place else LONG, apart=LONG, transient=True)
    begun: dict[str, float] = {}
    noted = 0.0

    def hear(doing: str, done: float | None) -> None:
        nonlocal noted
        now = time.monotonic()
        begun[doing] = since = begun.get(doing, now) if done else now
        left = (now - since) * (1 - done) / done if done is not None and done > SOON else None
        shown.doing = f"  {doing}" if in_place else f"{what}: {doing}" if what else doing
        shown.show(done, "" if left is None else f"{duration(left)} left")
        if folder is not None and now - noted >= WRITES:
            noted = now
            write_status(folder, Status(what, 1.0, None, left))

    try:
        with heard(hear):
            yield
    finally:
        shown.close()
