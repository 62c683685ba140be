"""Lets Hydra hand a multirun (`-m`, or a preset of conf/sweep/) to ssl_runner. Hydra takes plugins from here alone.

Hydra imports this at every start: nothing heavy at the top.
"""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class RunSweeper(Sweeper):
    """conf/hydra/sweeper/runs.yaml. One process a run: they are planned, started, watched and summed up by
    ssl_runner.commands.sweep."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader = hydra_context.config_loader
        self.hydra = config.hydra

    def sweep(self, arguments: list[str]) -> Any:
        from ssl_runner.commands.sweep import sweep

        return sweep(self.loader, self.hydra.job.config_name, list(self.hydra.overrides.hydra), arguments)
