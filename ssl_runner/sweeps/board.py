"""A sweep in the terminal: a live board, or plain lines where there is no terminal."""

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ssl_runner.config.request import RunRequest
from ssl_runner.results.status import Status, read_status
from ssl_runner.sweeps.scheduler import Outcome, Running

REFRESH = 0.5  # seconds
STATES = {"done": "green", "skipped": "dim", "failed": "red", "pruned": "yellow", "stopped": "yellow"}


class Board:
    """Use as a context. `skipped`: runs that were finished before; `slots`: runs at once."""

    def __init__(self, console: Console, total: int, skipped: int, slots: int) -> None:
        self._console = console
        self._total = total
        self._skipped = skipped
        self._slots = slots
        self._began = time.monotonic()
        self._shown = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def started(self, job: RunRequest) -> None:
        if not self._live:
            self._console.print(f"started  {job.label}", soft_wrap=True)

    def ended(self, outcome: Outcome) -> None:
        if outcome.state == "failed" or not self._live:
            words = f"{outcome.state:8} {outcome.job.label}  {outcome.seconds:,.0f} s  {outcome.why}".rstrip()
            self._console.print(Text(words, style=STATES[outcome.state]), soft_wrap=True)

    def stopping(self) -> None:
        self._console.print("stopping: each run saves a checkpoint and ends; press Ctrl-C again to kill them")

    def show(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> None:
        now = time.monotonic()
        if self._live and now - self._shown >= REFRESH:
            self._shown = now
            self._live.update(self._board(running, outcomes, waiting), refresh=True)

    def _board(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> RenderableType:
        statuses = [read_status(each.job.folder) for each in running]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for each, status in zip(running, statuses, strict=True):
            table.add_row(each.job.label, *_progress(status, time.monotonic() - each.since))
        return Group(Text(self._head(running, statuses, outcomes, waiting), style="bold"), table)

    def _head(
        self, running: Sequence[Running], statuses: Sequence[Status | None], outcomes: Sequence[Outcome], waiting: int
    ) -> str:
        counts = {state: sum(o.state == state for o in outcomes) for state in STATES}
        counts["skipped"] += self._skipped
        said = [f"{count} {state}" for state, count in counts.items() if count]
        said += [f"{len(running)} running", f"{waiting} waiting"]
        took = [o.seconds for o in outcomes if o.state == "done"]
        if took:
            each = sum(took) / len(took)
            so_far = sum(min(time.monotonic() - r.since, each) for r in running)
            left = max(0.0, each * (waiting + len(running)) - so_far) / self._slots
            said.append(f"about {duration(left)} left")
        return "  ".join([f"{self._total} runs:", *said])


def _progress(status: Status | None, seconds: float) -> list[RenderableType]:
    if status is None:
        return [Text("starting", style="dim"), "", "", duration(seconds)]
    loss = "" if status.loss is None else f"loss {status.loss:.4g}"
    left = "" if status.seconds_left is None else f"{duration(status.seconds_left)} left"
    return [ProgressBar(1.0, status.progress, width=20), status.doing, loss, left]


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


def outcome_table(outcomes: Sequence[Outcome], skipped: int) -> RenderableType:
    """Counts, and each run that is not done, with its last line and its log."""
    counts = {state: sum(o.state == state for o in outcomes) for state in STATES}
    counts["skipped"] += skipped
    said = Text("  ".join(f"{count} {state}" for state, count in counts.items() if count) or "nothing to do", "bold")
    rows = [o for o in outcomes if o.state in ("failed", "pruned", "stopped")]
    if not rows:
        return said
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("run", "", "why", "log"):
        table.add_column(title, overflow="fold")
    for o in rows:
        log = "" if o.log is None else str(o.log)
        table.add_row(o.job.label, Text(o.state, style=STATES[o.state]), Text(o.why), log)
    return Group(said, table)
