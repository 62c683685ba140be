"""A sweep in the terminal: a live board, or plain lines where there is no terminal."""

import time
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ssl_runner.config.request import RunRequest
from ssl_runner.results.status import Status, read_status
from ssl_runner.runtime.progress import duration
from ssl_runner.runtime.terminal import write_line
from ssl_runner.sweeps.scheduler import Outcome, Running

REFRESH = 0.5  # seconds between two pictures in a terminal
LINES = 30.0  # and between lines elsewhere
STATES = {"done": "green", "skipped": "dim", "failed": "red", "pruned": "yellow", "stopped": "yellow"}


class Board:
    """Use as a context. `skipped`: runs that were finished before; `slots`: runs at once."""

    def __init__(self, console: Console, total: int, skipped: int, slots: int) -> None:
        self._console = console
        self._total = total
        self._skipped = skipped
        self._slots = slots
        self._began = time.monotonic()
        self._shown = 0.0 if console.is_terminal else self._began
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
            words = f"{outcome.state:8} {outcome.job.label}  {duration(outcome.seconds)}  {outcome.why}".rstrip()
            write_line(self._console, words, style=STATES[outcome.state])

    def stopping(self) -> None:
        self._console.print("stopping: each run saves a checkpoint and ends; press Ctrl-C again to kill them")

    def show(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> None:
        now = time.monotonic()
        if now - self._shown < (REFRESH if self._live else LINES):
            return
        self._shown = now
        statuses = [status_of(each) for each in running]
        head = self._head(running, statuses, outcomes, waiting)
        if self._live:
            self._live.update(self._board(head, running, statuses), refresh=True)
            return
        self._console.print(head, soft_wrap=True)
        for each, status in zip(running, statuses, strict=True):
            said = "starting" if status is None else f"{status.doing}  {status.progress:4.0%}  {_figures(status)}"
            self._console.print(f"  {each.job.label}  {said}".rstrip(), soft_wrap=True)

    def _board(self, head: str, running: Sequence[Running], statuses: Sequence[Status | None]) -> RenderableType:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for _ in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        for each, status in zip(running, statuses, strict=True):
            table.add_row(each.job.label, *_progress(status, time.monotonic() - each.since))
        return Group(Text(head, style="bold"), table)

    def _head(
        self, running: Sequence[Running], statuses: Sequence[Status | None], outcomes: Sequence[Outcome], waiting: int
    ) -> str:
        counts = {state: sum(o.state == state for o in outcomes) for state in STATES}
        counts["skipped"] += self._skipped
        said = [f"{count} {state}" for state, count in counts.items() if count]
        said += [f"{len(running)} running", f"{waiting} waiting"]
        left = seconds_left(running, statuses, outcomes, waiting, self._slots)
        if left is not None:
            said.append(f"about {duration(left)} left")
        return "  ".join([f"{self._total} runs:", *said])


def seconds_left(
    running: Sequence[Running], statuses: Sequence[Status | None], outcomes: Sequence[Outcome], waiting: int, slots: int
) -> float | None:
    """The time that a sweep will take yet, from what its runs took, or else will take by what they say; None where
    nothing is known."""
    took = [o.seconds for o in outcomes if o.state == "done"] or list(_expected(running, statuses))
    if not took:
        return None
    each = sum(took) / len(took)
    so_far = sum(min(time.monotonic() - r.since, each) for r in running)
    return max(0.0, each * (waiting + len(running)) - so_far) / slots


def status_of(running: Running) -> Status | None:
    """What a run says of itself; None until it does, since it was started now."""
    return read_status(running.job.folder, time.monotonic() - running.since)


def _expected(running: Sequence[Running], statuses: Sequence[Status | None]) -> Iterator[float]:
    """How long runs that pretrain will have taken, before any is done."""
    for each, status in zip(running, statuses, strict=True):
        if status is not None and status.progress and status.seconds_left is not None:
            yield time.monotonic() - each.since + status.seconds_left


def _progress(status: Status | None, seconds: float) -> list[RenderableType]:
    if status is None:
        return [Text("starting", style="dim"), duration(seconds), ""]
    return [ProgressBar(1.0, status.progress, width=12), status.doing, _figures(status)]


def _figures(status: Status) -> str:
    loss = "" if status.loss is None else f"loss {status.loss:.4g}"
    left = "" if status.seconds_left is None else f"{duration(status.seconds_left)} left"
    return "  ".join(each for each in (loss, left) if each)


def print_outcomes(console: Console, outcomes: Sequence[Outcome], skipped: int) -> None:
    """Counts, and each run that is not done, with its last line and its log."""
    counts = {state: sum(o.state == state for o in outcomes) for state in STATES}
    counts["skipped"] += skipped
    said = "  ".join(f"{count} {state}" for state, count in counts.items() if count)
    write_line(console, said or "nothing to do", style="bold")
    for o in outcomes:
        if o.state in ("failed", "pruned", "stopped"):
            write_line(console, f"{o.state:8} {o.job.label}  {o.why}".rstrip(), style=STATES[o.state])
            if o.log is not None:
                console.print(f"         {o.log}", soft_wrap=True)
