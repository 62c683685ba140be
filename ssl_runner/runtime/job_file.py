"""A run in a file, for a separate process that executes it, and the exit codes of that process."""

from pathlib import Path

import yaml

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.request import RunRequest
from ssl_runner.results.result import write_atomically

BUSY = 75  # exit code: another process does this run (EX_TEMPFAIL)
LOST = 76  # exit code: another process of a run on several devices has failed


def write_job(file: Path, request: RunRequest) -> None:
    """Write a run: its resolved config, its overrides, the sweep it is part of."""
    content = {
        "sweep": request.sweep,
        "label": request.label,
        "overrides": list(request.overrides),
        "config": dict(request.plain),
    }
    write_atomically(file, yaml.safe_dump(content, sort_keys=False))


def read_job(file: Path) -> RunRequest:
    """What `write_job` wrote. Raises ConfigError for a damaged file, and for a config that is refused."""
    try:
        job = read_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError([f"{str(file)!r} is damaged: {error}"]) from error
    texts = [job.get(key) for key in ("sweep", "label")] if isinstance(job, dict) else [None]
    overrides = job.get("overrides") if isinstance(job, dict) else None
    if not isinstance(overrides, list) or not all(isinstance(each, str) for each in (*texts, *overrides)):
        raise ConfigError([f"{str(file)!r} is damaged: it must hold sweep, label, overrides and config"])
    return RunRequest.of(job.get("config"), overrides, job["label"], job["sweep"])
