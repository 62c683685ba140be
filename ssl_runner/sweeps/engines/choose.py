"""The engine that `sweep.engine` names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssl_runner.sweeps.engines.interface import Engine, Work
from ssl_runner.sweeps.engines.local import Local


def engine(
    name: str, work: Work, jobs: int | None, waiting: int, accelerator: str, settings: dict[str, Any], folder: Path
) -> Engine:
    """The engine that `sweep.engine` names. `work`: how a job is done.

    Raises ConfigError where its package is missing or refuses `settings`."""
    if name == "local":
        return Local(work, jobs, waiting, accelerator)
    from ssl_runner.sweeps.engines import cluster

    made: dict[str, Callable[[], Engine]] = {
        "submitit": lambda: cluster.Submitit(work, jobs, settings, folder),
        "ray": lambda: cluster.Ray(work, jobs, settings),
    }
    return made[name]()
