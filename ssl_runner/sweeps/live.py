"""The page of a sweep while it runs: `compare.html`, written anew as runs go on and finish."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ssl_runner.assembly.places import finished
from ssl_runner.config.request import RunRequest
from ssl_runner.results.result import Run, write_atomically
from ssl_runner.sweeps.board import seconds_left, status_of
from ssl_runner.sweeps.scheduler import Outcome, Running, Watcher

EVERY = 5.0  # seconds between two writings of what runs
READ = 10  # seconds between two readings by a browser
COSTS = 50  # the comparison of what is finished is drawn again after so many times what it took: 2 % of the time


class LivePage:
    """A `Watcher`. `done`: runs that were finished before; `slots`: runs at once. No error of the disk ends a sweep."""

    def __init__(
        self,
        path: Path,
        title: str,
        done: Sequence[RunRequest],
        slots: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._title = title
        self._done = list(done)
        self._slots = slots
        self._clock = clock
        self._page = ""  # the comparison of what is finished
        self._stale = True
        self._draws = self._writes = clock()  # when each is due

    def started(self, job: RunRequest) -> None:
        pass

    def ended(self, outcome: Outcome) -> None:
        if outcome.state in ("done", "skipped"):
            self._done.append(outcome.job)
            self._stale, self._writes = True, self._clock()

    def stopping(self) -> None:
        pass

    def show(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> None:
        if self._clock() < self._writes:
            return
        with suppress(OSError):
            self._write(running, outcomes, waiting)
        self._writes = self._clock() + EVERY

    def close(self) -> None:
        """Leave a page that is read once: nothing runs any more."""
        if self._page:
            from ssl_runner.reporting.live import put_into

            with suppress(OSError):
                write_atomically(self._path, put_into(self._page, None))

    def _write(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> None:
        from ssl_runner.reporting.live import Live, UnderWay, curve_of, put_into  # Matplotlib and Jinja: only here

        if self._stale and self._clock() >= self._draws:
            begun = self._clock()
            self._page, self._stale = self._compared(), False
            self._draws = self._clock() + COSTS * (self._clock() - begun)
        statuses = [status_of(each) for each in running]
        live = Live(
            running=[
                UnderWay(each.job.label, "starting", 0.0, None, None, ())
                if status is None
                else UnderWay(
                    each.job.label,
                    status.doing,
                    status.progress,
                    status.loss,
                    status.seconds_left,
                    curve_of(each.job.folder),
                )
                for each, status in zip(running, statuses, strict=True)
            ],
            failed=[(each.job.label, each.why) for each in outcomes if each.state == "failed"],
            finished=len(self._done),
            waiting=waiting,
            seconds_left=seconds_left(running, statuses, outcomes, waiting, self._slots),
            written=time.strftime("%H:%M:%S"),
            every=READ,
        )
        write_atomically(self._path, put_into(self._page, live))

    def _compared(self) -> str:
        from ssl_runner.reporting.comparison import Comparison, compare
        from ssl_runner.reporting.page import comparison_page

        found = [(job, finished(job.folder)) for job in self._done]
        runs = [Run(job.label, job.folder, result) for job, result in found if result is not None]
        comparison = compare(runs) if runs else Comparison((), (), (), {})
        return comparison_page(self._path, comparison, self._title)


class Watchers:
    """Several watchers as one."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def show(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> None:
        for each in self._watchers:
            each.show(running, outcomes, waiting)

    def started(self, job: RunRequest) -> None:
        for each in self._watchers:
            each.started(job)

    def ended(self, outcome: Outcome) -> None:
        for each in self._watchers:
            each.ended(outcome)

    def stopping(self) -> None:
        for each in self._watchers:
            each.stopping()
