"""Metrics as a line of JSON each."""

import json
from collections.abc import Mapping

from ssl_runner.loggers.interface import RunContext, RunLogger


class JsonLines(RunLogger):
    """Append a line of JSON per call to a file in the run's folder."""

    def __init__(self, context: RunContext, *, file: str) -> None:
        if "/" in file:
            raise ValueError(f"logger.json_lines.file is {file!r}; it must be the name of a file")
        self.path = context.folder / file

    def open(self, resume_step: int | None = None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = self.path.read_text().splitlines() if resume_step is not None and self.path.exists() else []
        lines = [line for line in kept if json.loads(line)["step"] <= (resume_step or 0)]
        self.path.write_text("".join(f"{line}\n" for line in lines))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step} | dict(metrics)) + "\n")

    def finish(self, success: bool) -> None:
        """Nothing is open."""
