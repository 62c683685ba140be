"""Engines that execute the runs of a sweep. A job is a file with a config, and a process that does it (`Work`)."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol


class Work(NamedTuple):
    """How a job is executed. It is given by the caller, so that engines deal only with files and processes."""

    module: str  # `python -m MODULE FILE --tied` does a job, and ends with the process that started it
    forked: Callable[[str, str, str | None], None]  # file, log, GPU: does a job in a process that was forked for it
    preload: str  # the module that imports all that jobs need


class Handle(Protocol):
    """A job that was started."""

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the job runs or waits."""

    def stop(self) -> None:
        """Ask the job to save a checkpoint and end."""

    def kill(self) -> None:
        """End it at once."""


class Engine(ABC):
    """Starts jobs. `slots`: how many at once."""

    slots: int

    @abstractmethod
    def start(self, file: Path, log: Path, devices: int) -> Handle:
        """Start the job of `file`; what it prints goes to `log`. `devices`: those it trains on."""

    def wait(self, seconds: float) -> None:
        """Return when a job has ended, or when `seconds` have passed; an engine that is not told waits for those."""
        time.sleep(seconds)

    def close(self) -> None:  # noqa: B027 - not every engine holds something
        """Release the resources of the engine, once no job runs."""
