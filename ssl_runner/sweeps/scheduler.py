"""Start jobs as slots become free, wait for them, and report the outcome of each."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from ssl_runner.assembly.places import finished
from ssl_runner.config.request import RunRequest
from ssl_runner.results.result import Result
from ssl_runner.runtime.job_file import BUSY, write_job
from ssl_runner.runtime.locks import is_held
from ssl_runner.runtime.signals import REQUESTS, STOPPED
from ssl_runner.sweeps.engines.interface import Engine, Handle

POLL = 0.05  # seconds between two looks at the jobs
RETRY = 5.0  # seconds before a run that another process does is looked at again
TAIL = 4000  # bytes of a log in which its last line is sought

LIKELY = {  # why the system kills a process
    "SIGKILL": "; possibly out of memory: lower sweep.jobs or batch_size",
    "SIGBUS": "; possibly a data file was truncated while it was read",
}

State = Literal["done", "failed", "skipped", "pruned", "stopped"]


class Outcome(NamedTuple):
    """The outcome of a job."""

    job: RunRequest
    state: State
    why: str = ""  # of a failure: its last line; of what was skipped: who did it
    log: Path | None = None
    seconds: float = 0.0


class Source(Protocol):
    """A source of jobs: a list, or a search guided by results."""

    def next(self) -> RunRequest | None:
        """The next job; None where there is none, or none before another one ends."""

    def ended(self, outcome: Outcome, result: Result | None) -> None:
        """Record the end of a job; `result` if the run is finished."""

    def hopeless(self, job: RunRequest) -> bool:
        """Whether a running job should be pruned, given its curve."""

    def waiting(self) -> int:
        """How many jobs are still to come, as far as known."""


class Watcher(Protocol):
    """A display of the progress of a sweep."""

    def show(self, running: Sequence["Running"], outcomes: Sequence[Outcome], waiting: int) -> None: ...

    def started(self, job: RunRequest) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...

    def stopping(self) -> None: ...


class Running(NamedTuple):
    job: RunRequest
    handle: Handle
    log: Path
    since: float


class Listed:
    """A `Source` of jobs that are known beforehand."""

    def __init__(self, jobs: Sequence[RunRequest]) -> None:
        self._jobs = list(jobs)[::-1]

    def next(self) -> RunRequest | None:
        return self._jobs.pop() if self._jobs else None

    def ended(self, outcome: Outcome, result: Result | None) -> None:
        pass

    def hopeless(self, job: RunRequest) -> bool:
        return False

    def waiting(self) -> int:
        return len(self._jobs)


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked
    """The sweep was asked to stop; `outcomes` says what was done before."""

    def __init__(self, outcomes: list[Outcome], left: int, signal: int) -> None:
        super().__init__()
        self.outcomes = outcomes
        self.left = left
        self.signal = signal


def run_jobs(source: Source, engine: Engine, watcher: Watcher, folder: Path, sweep: str) -> list[Outcome]:
    """Run all jobs of `source`; job files and logs go to `folder`. Raises Interrupted."""
    return _Scheduler(source, engine, watcher, folder, sweep).run()


class _Scheduler:
    def __init__(self, source: Source, engine: Engine, watcher: Watcher, folder: Path, sweep: str) -> None:
        self.source = source
        self.engine = engine
        self.watcher = watcher
        self.folder = folder
        self.sweep = sweep
        self.running: list[Running] = []
        self.outcomes: list[Outcome] = []
        self.busy: list[tuple[float, RunRequest]] = []  # runs that another process does, and when to look again
        self.pruned: set[str] = set()  # identities of what was asked to stop as hopeless

    def run(self) -> list[Outcome]:
        with _signals() as asked:
            while True:
                while len(self.running) < self.engine.slots and not asked:
                    job = self.next()
                    if job is None:
                        break
                    self.begin(job)
                if not self.running and (asked or not (self.busy or self.source.waiting())):
                    break
                self.engine.wait(POLL)
                self.look()
                self.watcher.show(self.running, self.outcomes, self.source.waiting() + len(self.busy))
                if asked and self.running:
                    _stop(self.running, asked, self.watcher)
        if asked:
            stopped = sum(outcome.state == "stopped" for outcome in self.outcomes)
            raise Interrupted(self.outcomes, self.source.waiting() + len(self.busy) + stopped, asked[0])
        return self.outcomes

    def next(self) -> RunRequest | None:
        """The next job to begin; None where there is none now."""
        while self.busy and self.busy[0][0] <= time.monotonic():
            _, job = self.busy.pop(0)
            if (found := finished(job.folder)) is not None:
                self.end(Outcome(job, "skipped", "done by another process"), found)
            elif is_held(job.folder):  # which its log has said
                self.busy.append((time.monotonic() + RETRY, job))
            else:
                return job
        return self.source.next()

    def begin(self, job: RunRequest) -> None:
        file = self.folder / "jobs" / f"{job.identity}.yaml"
        log = self.folder / "logs" / f"{_file_name(job.label)}-{job.identity}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        write_job(file, replace(job, sweep=self.sweep))
        handle = self.engine.start(file, log, job.config.trainer.devices)
        self.running.append(Running(job, handle, log, time.monotonic()))
        self.watcher.started(job)

    def look(self) -> None:
        """See which jobs have ended, and stop those that are hopeless."""
        for each in list(self.running):
            code, identity = each.handle.poll(), each.job.identity
            if code is None:
                if identity not in self.pruned and self.source.hopeless(each.job):
                    self.pruned.add(identity)
                    each.handle.stop()
                continue
            self.running.remove(each)
            if code == BUSY:
                self.busy.append((time.monotonic() + RETRY, each.job))
            else:
                self.end(*_judge(each, code, identity in self.pruned))

    def end(self, outcome: Outcome, result: Result | None) -> None:
        self.outcomes.append(outcome)
        self.source.ended(outcome, result)
        self.watcher.ended(outcome)


def _judge(each: Running, code: int, pruned: bool) -> tuple[Outcome, Result | None]:
    """The outcome of a job, from its exit code and the result in its folder."""
    seconds = time.monotonic() - each.since
    result = finished(each.job.folder)
    if code == 0 and result is not None:
        return Outcome(each.job, "done", "", each.log, seconds), result
    if pruned:
        return Outcome(each.job, "pruned", "below the median of the others", each.log, seconds), None
    if code == STOPPED:
        return Outcome(each.job, "stopped", "", each.log, seconds), None
    return Outcome(each.job, "failed", _reason(code, each.log), each.log, seconds), None


def _reason(code: int, log: Path) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + LIKELY.get(name, "")
    last = last_line(log)
    if code == 0:
        return f"ended without a result; {last}"
    return last if code in (1, 2) and last else f"ended with exit code {code}" + f"; {last}" * bool(last)


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "").removeprefix("error: ")


def _file_name(label: str) -> str:
    return "".join(c if c.isalnum() or c in "=.-" else "_" for c in label)[:80]


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect signals that ask to stop, instead of ending by them; SIGUSR1 counts as SIGTERM."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        asked.append(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    before = {number: signal.signal(number, note) for number in REQUESTS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(running: list[Running], asked: list[int], watcher: Watcher) -> None:
    """At the first signal, ask the jobs to save and end; at the second, kill them."""
    if len(asked) == 1:
        watcher.stopping()
        for each in running:
            each.handle.stop()
        asked.append(0)  # said; the next signal kills
    elif len(asked) > 2:
        for each in running:
            each.handle.kill()
