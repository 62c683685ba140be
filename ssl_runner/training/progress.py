"""Metrics, progress and status of pretraining, read from the device every few steps."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import pytorch_lightning as pl
from rich.console import Console
from torch import Tensor

from ssl_runner.nn.gather import mean_over_ranks, rank
from ssl_runner.results.status import Status, write_status
from ssl_runner.runtime.progress import Shown, duration
from ssl_runner.runtime.terminal import write_line
from ssl_runner.training.pretrainer import DivergedError, Pretrainer

STATUS_SECONDS = 1.0  # between writes of the status, at least
GLANCE_SECONDS = 5.0  # between two lines in place, where steps are slow, at most: each waits for the device


class Writes(Protocol):
    """A writer of metrics."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...


class Record(pl.Callback):
    """Read and write the accumulated logs every `every` steps, and show progress: after the first step, and then when
    logs are read, or when that was long ago. Only this waits for the device.

    `folder`: the run's folder, which holds its status. Raises DivergedError at the first reading of a loss that is not
    finite.
    """

    def __init__(self, loggers: Sequence[Writes], every: int, console: Console, folder: Path) -> None:
        self.loggers = loggers
        self.every = every
        self.console = console
        self.folder = folder
        self.first: float | Tensor | None = None  # the first step's loss
        self.last: float | None = None
        self.seconds = 0.0  # of training steps only
        self.shown: Shown | None = None
        self.began = False  # after a checkpoint was loaded
        self._since = 0.0
        self._said = 0  # the step last read
        self._glanced = 0.0  # time of the last line
        self._noted = -STATUS_SECONDS  # time of the last write of the status
        self._skipped = 0  # skipped steps that were reported

    def state_dict(self) -> dict[str, Any]:
        self._count()
        return {"first": self.loss_first, "last": self.last, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first, self.last, self.seconds = (state_dict[key] for key in ("first", "last", "seconds"))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = True
        self._since = time.monotonic()
        self._said = trainer.global_step  # read before the interruption; with accumulation a step has several batches
        self._skipped = cast(Pretrainer, pl_module).skipped
        self._glanced = -GLANCE_SECONDS  # so that the first step is shown
        self.shown = Shown(self.console, "pretraining")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, module = trainer.global_step, cast(Pretrainer, pl_module)
        if module.skipped > self._skipped:
            self._skipped = module.skipped
            said = f"step {step} is skipped: its loss or gradient is not finite"
            about = f"warning: {said} ({module.skipped} of at most {module.skip_nonfinite})"
            write_line(self.console, about, style="yellow")
        tally = module.tally["train"]
        if self.first is None and module.phase == "moving" and tally.count:  # the first step that was not skipped
            self.first = mean_over_ranks(tally.sums["loss"] / tally.count)
        if step % self.every == 0 and step != self._said:
            self._read(trainer, module)
        elif module.phase == "moving" and time.monotonic() - self._glanced >= GLANCE_SECONDS and not rank():
            self._glance(module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._count()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(Pretrainer, pl_module)
        values = module.tally["val"].read()
        self._write(trainer, module, {f"val/{name}": value for name, value in values.items()})
        self._since = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(Pretrainer, pl_module)
        if module.tally["train"].count:
            self._read(trainer, module)
        self._count()
        self.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        if self.shown is not None:
            self.shown.close()

    def _count(self) -> None:
        """Add the seconds since the last call."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now

    @property
    def loss_first(self) -> float | None:
        """The loss of the first step that was not skipped, averaged over processes; synchronizes with the device."""
        return None if self.first is None else float(self.first)

    def _read(self, trainer: pl.Trainer, pl_module: Pretrainer) -> None:
        values = pl_module.tally["train"].read()
        if not values:  # all steps since then were skipped
            return
        loss = values["loss"]
        self.last = loss
        self._said = trainer.global_step
        rate = pl_module.optimizer.param_groups[0]["lr"]
        self._write(trainer, pl_module, {f"train/{name}": value for name, value in values.items()} | {"lr": rate})
        if not math.isfinite(loss):
            pl_module.check()
            raise DivergedError(f"the loss is {loss} by step {trainer.global_step}", None)
        pl_module.recent.clear()
        self._show(pl_module, loss)

    def _write(self, trainer: pl.Trainer, pl_module: Pretrainer, values: dict[str, float]) -> None:
        about = {"epoch": float(trainer.current_epoch), "seconds": round(pl_module.clock.seconds, 3)}
        for logger in self.loggers:
            logger.log_metrics(about | values, trainer.global_step)

    def _glance(self, pl_module: Pretrainer) -> None:
        """Show the loss of this process since the logs were read; they stay unread."""
        tally = pl_module.tally["train"]
        if tally.count:
            self._show(pl_module, float(tally.sums["loss"] / tally.count))

    def _show(self, pl_module: Pretrainer, loss: float) -> None:
        if rank():
            return  # only process 0 prints
        self._glanced = time.monotonic()
        done, seconds = pl_module.progress, pl_module.clock.seconds
        left = seconds * (1 - done) / done if done else None
        if self._glanced - self._noted >= STATUS_SECONDS or done >= 1:
            self._noted = self._glanced
            write_status(self.folder, Status("pretraining", done, loss, left))
        if self.shown is not None:
            rate = f"{pl_module.examples / max(seconds, 1e-9):,.0f} examples/s"
            said = [f"loss {loss:.4f}", rate, *([] if left is None else [f"{duration(left)} left"])]
            self.shown.show(done, "  ".join(said))
