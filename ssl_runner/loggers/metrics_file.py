"""The run's own record of its metrics."""

import csv
import io
import time
from collections import Counter
from collections.abc import Mapping
from typing import TextIO

from ssl_runner.loggers.interface import RunContext, RunLogger
from ssl_runner.results.result import write_atomically

ALWAYS = ("step", "epoch", "seconds")


class MetricsFile(RunLogger):
    """Write `metrics.csv` in the run's folder: one row a call, one column a name, empty where a row lacks it.

    Columns: step, epoch (empty if not given), seconds (of the run, all its sessions together), then names in the order
    in which they first came. Numbers are written so that they read back as they were. Each row is in the file when the
    call returns. This file is the truth about a run; other loggers mirror it.
    """

    def __init__(self, context: RunContext) -> None:
        self.path = context.folder / "metrics.csv"
        self._columns: list[str] = []  # empty: not open
        self._zero = 0.0  # time.monotonic() at second 0 of the run
        self._resumed: int | None = None  # the step gone on from
        self._known: Counter[frozenset[str]] = Counter()  # names of its rows

    def open(self, resume_step: int | None = None) -> None:
        """Raises ValueError if the file to go on with was not written by this class."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, str]] = []
        columns = list(ALWAYS)
        if resume_step is not None and self.path.exists():
            columns, rows = self._read()
            rows = [row for row in rows if int(row["step"]) <= resume_step]
        self._resumed = resume_step
        self._known = Counter(_names(row) for row in rows if int(row["step"]) == resume_step)
        self._columns = columns
        self._zero = time.monotonic() - (float(rows[-1]["seconds"]) if rows else 0.0)
        self._rewrite(rows)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        if not self._columns:
            raise RuntimeError("MetricsFile.log_metrics was called before open, or after finish")
        if step == self._resumed and self._known[names := frozenset(metrics.keys() - set(ALWAYS))]:
            self._known[names] -= 1  # with accumulation a step lasts, and what fell into it is measured again
            return
        row = {"epoch": "", "seconds": f"{time.monotonic() - self._zero:.3f}"}
        row |= {name: _text(value) for name, value in metrics.items()} | {"step": str(step)}
        new = [name for name in row if name not in self._columns]
        try:
            if new:
                _, rows = self._read()
                self._columns += new
                self._rewrite([*rows, row])
            else:
                with self.path.open("a", encoding="utf-8", newline="") as file:
                    self._writer(file).writerow(row)
        except OSError as error:  # of a full disk Python does not say in which file
            raise OSError(error.errno, error.strerror, str(self.path)) from error

    def finish(self, success: bool) -> None:
        self._columns = []

    def _writer(self, file: TextIO) -> "csv.DictWriter[str]":
        return csv.DictWriter(file, self._columns, restval="", lineterminator="\n")

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a killed run may have left half a row
        reader = csv.DictReader(io.StringIO(whole))
        columns = list(reader.fieldnames or ALWAYS)
        if tuple(columns[: len(ALWAYS)]) != ALWAYS:
            raise ValueError(
                f"{self.path} begins with the columns {columns[:3]}, not {list(ALWAYS)}: move it elsewhere"
            )
        return columns, list(reader)

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        file = io.StringIO(newline="")
        writer = self._writer(file)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path, file.getvalue())


def _names(row: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name, value in row.items() if value and name not in ALWAYS)


def _text(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
