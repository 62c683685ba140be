"""Locks: one process at a time in a run's folder. The system releases a lock when its process ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LOCK = ".lock"


PATIENCE = 0.2  # seconds: `is_held` holds a folder for a moment


class BusyError(Exception):
    """Another process works in the folder. `said`: a process of this run has already reported it."""

    def __init__(self, message: str, *, said: bool = False) -> None:
        super().__init__(message)
        self.said = said


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, which is created if missing. Raises BusyError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        end = time.monotonic() + PATIENCE
        while not _take(file):
            if time.monotonic() > end:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                what = f"{str(folder)!r} is in use: process {owner} is doing the same run"
                raise BusyError(f"{what}; wait for it, or choose another output")
            time.sleep(PATIENCE / 10)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_held(folder: Path) -> bool:
    """Whether a process of this machine works in a folder, which is left as it is. Raises OSError where that cannot be
    seen."""
    try:
        with (folder / LOCK).open() as file:
            return not _take(file, fcntl.LOCK_SH)  # so that two that look do not see each other
    except FileNotFoundError:
        return False


def _take(file: TextIO, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
