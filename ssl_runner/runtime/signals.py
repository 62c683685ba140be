"""Requests to stop: Ctrl-C, SIGTERM and SIGUSR1. In pretraining `saving.Checkpoint` waits for the step at hand."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPPED = 128 + signal.SIGTERM  # exit code of a run that was told to stop, by either signal
TOLD = (signal.SIGTERM, signal.SIGUSR1)  # by a scheduler, or `kill`
REQUESTS = (signal.SIGINT, *TOLD)
PATIENCE = 30.0  # seconds for scontrol


class Stopped(BaseException):  # no error: somebody asked, as with KeyboardInterrupt
    """A run was asked to stop. `step`: the last one that is saved, 0 where none is; None: no run was at work."""

    def __init__(self, number: int, step: int | None = None) -> None:
        super().__init__(number, step)
        self.number = number
        self.step = step

    @property
    def code(self) -> int:
        """The exit code: 130 after Ctrl-C, as shells have it, else 143."""
        return 128 + signal.SIGINT if self.number == signal.SIGINT else STOPPED

    def __str__(self) -> str:
        how = "interrupted" if self.number == signal.SIGINT else f"stopped by {signal.Signals(self.number).name}"
        if self.step is None:
            return how
        if self.step == 0:
            return f"{how} before a step was saved; the same command begins again"
        return f"{how} after step {self.step}, which is saved; the same command resumes from there"


@contextmanager
def handled(numbers: tuple[int, ...], handler: Callable[[int, object], None]) -> Iterator[None]:
    """Let signals call `handler`. Ignored signals stay ignored; outside of the main thread, where Python handles none,
    nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped when a signal asks the process to stop, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    with handled(TOLD, stop):
        yield


def requeue() -> str:
    """Requeue this SLURM job, to resume later. Returns what happened, in words; "" outside of
    SLURM."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return ""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        failed = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        failed = str(error)
    if failed:
        return f"SLURM did not requeue job {job} ({failed}); submit it again"
    return f"SLURM requeues job {job}"
