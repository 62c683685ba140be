"""Monitoring of features for collapse."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch
from rich.console import Console

from ssl_runner.evaluation.any.geometry import effective_rank, spread, uniformity
from ssl_runner.evaluation.any.subject import evaluating
from ssl_runner.interfaces import Batch, Objective
from ssl_runner.nn.sharding import gathered
from ssl_runner.runtime.terminal import write_line
from ssl_runner.training.pretrainer import Pretrainer, step_seed
from ssl_runner.training.progress import Record, Writes


class CollapsedError(Exception):
    """Collapse: the features, or the logs that the objective names in `floors`, no longer distinguish examples."""


FLOORS = {"spread": 0.01, "effective_rank": 1.5}  # random starts lie at 0.07 and 20, or above


class Collapse(pl.Callback):
    """Watch the features of one fixed batch every `every` steps, and what the objective's `floors` name of its logs.

    Written as watch/spread, watch/effective_rank, watch/uniformity (`evaluation.geometry` says what they are), and
    watch/<log>. Two readings in a row below a floor are a collapse: it is said once, with the likely cause and what to
    change; with `early_stop` "collapse" CollapsedError is raised. Moves neither weights nor generators; the time it
    takes is not `record`'s.
    """

    def __init__(
        self,
        batch: Batch,
        record: Record,
        loggers: Sequence[Writes],
        every: int,
        early_stop: Literal["none", "collapse"],
        console: Console,
    ) -> None:
        self.batch = batch  # as input, on the device of training
        self.record = record
        self.loggers = loggers
        self.every = every
        self.early_stop = early_stop
        self.console = console
        self._said = 0  # the step last read
        self._low: set[str] = set()  # what was below its floor at the last reading
        self._warned = False

    def state_dict(self) -> dict[str, Any]:
        return {"low": sorted(self._low), "warned": self._warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._low, self._warned = set(state_dict["low"]), state_dict["warned"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._said = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every or step == self._said:
            return
        self._said = step
        if self.batch.data.is_cuda:
            torch.cuda.synchronize(self.batch.data.device)  # what is pending is training's
        begun = time.monotonic()
        objective = cast(Pretrainer, pl_module).objective
        values = self.measure(objective)
        for logger in self.loggers:
            logger.log_metrics({f"watch/{name}": value for name, value in values.items()}, step)
        self.record.seconds -= time.monotonic() - begun
        self._judge(objective, values, step)

    def measure(self, objective: Objective) -> dict[str, float]:
        """All monitored values; empty if features are not finite, which `Record` reports."""
        device = self.batch.data.device
        forked = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with forked, evaluating(objective), gathered(objective), torch.no_grad():
            torch.manual_seed(step_seed("watch"))
            features = objective.exported(self.batch.data).pooled.float().cpu()
            logs = objective.loss(*objective.split(self.batch)).logs if objective.floors else {}
        if not features.isfinite().all():
            return {}
        values = {
            "spread": spread(features),
            "effective_rank": effective_rank(features),
            "uniformity": uniformity(features),
        }
        return values | {name: logs[name].item() for name in objective.floors}

    def _judge(self, objective: Objective, values: Mapping[str, float], step: int) -> None:
        floors = FLOORS | dict(objective.floors)
        low = {name for name, value in values.items() if name in floors and value < floors[name]}
        lasting = sorted(low & self._low)
        self._low = low
        if not lasting or self._warned:
            return
        seen = ", ".join(f"{name} is {values[name]:.2g}, below {floors[name]:g}" for name in lasting)
        message = f"collapse at step {step}: {seen}. Likely cause: {objective.collapse}"
        if self.early_stop == "collapse":
            raise CollapsedError(message)
        write_line(self.console, f"warning: {message}", style="yellow")
        self._warned = True
