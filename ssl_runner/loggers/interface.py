"""The interface of loggers. Validation imports this package, so its modules import nothing heavy at the top."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ssl_runner.results.metrics import Metric


class RunContext(NamedTuple):
    """The run, as far as loggers need to know it."""

    folder: Path  # the run's own
    outputs: Path  # the folder that all runs share
    name: str  # for people: "simclr-mnist-s0"; in a sweep what differs: "ratio=0.75 s0"
    tags: tuple[str, ...]
    identity: str  # hash of the resolved config
    seed: int
    group: str = ""  # the sweep that it belongs to; empty: none
    job_type: str = "pretrain"


class RunLogger(ABC):
    """Writes down one run. A constructor only takes settings and refuses bad values; `open` touches disk and network.

    Order of calls: `open`, then any of the `log_` methods, then `finish`, always, also after a failure. A subclass
    takes `context: RunContext` as its only positional parameter.
    """

    @abstractmethod
    def open(self, resume_step: int | None = None) -> None:
        """Begin. `resume_step`: the step a resumed run goes on from, later ones being void; None: start anew."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write numbers measured at a step (optimizer steps so far). The name "epoch" is kept for the epoch."""

    @abstractmethod
    def finish(self, success: bool) -> None:
        """Write what is pending and close. Without effect if nothing is open."""

    def log_config(self, config: Mapping[str, Any]) -> None:  # noqa: B027 - not every logger has a place for it
        """Write the resolved config: plain dicts, lists and values."""

    def log_summary(self, summary: Mapping[str, Metric]) -> None:  # noqa: B027
        """Write the final metrics of the run, those of the evaluation, by subject and address:
        "pretrained/linear.accuracy"."""

    def log_figures(self, figures: Mapping[str, Path]) -> None:  # noqa: B027
        """Show PNG files by name."""


class Loggers(RunLogger):
    """Any number of loggers as one, also none."""

    def __init__(self, loggers: Sequence[RunLogger]) -> None:
        self._loggers = tuple(loggers)

    def open(self, resume_step: int | None = None) -> None:
        with ExitStack() as opened:
            for logger in self._loggers:
                logger.open(resume_step)
                opened.callback(logger.finish, success=False)
            opened.pop_all()  # all are open: leave them so

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        for logger in self._loggers:
            logger.log_metrics(metrics, step)

    def log_config(self, config: Mapping[str, Any]) -> None:
        for logger in self._loggers:
            logger.log_config(config)

    def log_summary(self, summary: Mapping[str, Metric]) -> None:
        for logger in self._loggers:
            logger.log_summary(summary)

    def log_figures(self, figures: Mapping[str, Path]) -> None:
        for logger in self._loggers:
            logger.log_figures(figures)

    def finish(self, success: bool) -> None:
        """Finish each, also when another one's `finish` raises."""
        with ExitStack() as all_of_them:
            for logger in reversed(self._loggers):
                all_of_them.callback(logger.finish, success)
