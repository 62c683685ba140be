"""Where the runs of a sweep run. A job is a file with a frozen config, and a process that does it (`Work`)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol


class Work(NamedTuple):
    """How a job is done. Whoever starts a sweep says it, so that engines know files and processes alone."""

    module: str  # `python -m MODULE FILE --tied` does a job, and ends with the process that started it
    forked: Callable[[str, str, str | None], None]  # file, log, GPU: does a job in a process that was forked for it
    preload: str  # the module that imports all that jobs need


class Handle(Protocol):
    """A job that was started."""

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs or waits."""

    def stop(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it at once."""


class Engine(ABC):
    """Starts jobs. `slots`: how many at once."""

    slots: int

    @abstractmethod
    def start(self, file: Path, log: Path, devices: int) -> Handle:
        """Start the job of `file`; what it prints goes to `log`. `devices`: those it trains on."""

    def close(self) -> None:  # noqa: B027 - not every engine holds something
        """Let go of what the engine holds, once no job runs."""
