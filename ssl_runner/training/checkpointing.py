"""Write checkpoints between steps, so that a resumed run ends exactly as an uninterrupted one."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.signals import REQUESTS, Stopped, handled
from ssl_runner.training.pretrainer import DivergedError, Pretrainer
from ssl_runner.training.strategies import Sharded, agreed


class ToDisk(TorchCheckpointIO):
    """Checkpoint I/O that writes to the file directly, without the two copies that Lightning makes."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint_files.write(checkpoint, Path(path))


class Checkpoint(pl.Callback):
    """Write checkpoints every so many minutes or steps, at the end of training, at a request to stop, and when a step
    fails (with the state before that step).

    After SIGINT, SIGTERM or SIGUSR1 it lets the current step end, writes, and raises Stopped. After a second SIGINT it
    raises KeyboardInterrupt at once. Raises OSError if a checkpoint cannot be written. Raises DivergedError instead of
    writing values that are not finite, so that the previous checkpoint stays the newest.

    Only process 0 has this callback, except with sharding: then all processes write when process 0 does, and a failed
    step is not undone, since other processes are in the middle of it.

    `contents`: fingerprints of the files that the run reads, stored in each checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        *,
        minutes: float,
        steps: int | None,
        count: int,
        contents: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.seconds = 60 * minutes
        self.steps = steps
        self.count = count
        self.contents = dict(contents)
        self.clock = clock
        self.written = clock()
        self.step = -1  # of the last checkpoint written
        self.asked = 0  # the signal that requested a stop; 0: none
        self._writing = False
        self._listening = ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.step = trainer.global_step
        self._listening.enter_context(handled(REQUESTS, self._ask))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if cast(Pretrainer, pl_module).phase != "between":
            return
        if agreed(trainer, self.asked > 0):
            self.write(trainer)
            raise Stopped(self.asked or signal.SIGTERM, trainer.global_step)
        if agreed(trainer, self.due(trainer.global_step)):
            self.write(trainer)

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due, by this process's clock or by the number of steps."""
        by_steps = self.steps is not None and step - self.step >= self.steps
        return by_steps or self.clock() - self.written >= self.seconds

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write(trainer)
        self._listening.close()
        if agreed(trainer, self.asked > 0):
            raise Stopped(self.asked or signal.SIGTERM, trainer.global_step)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._listening.close()
        if isinstance(exception, Stopped | KeyboardInterrupt | DivergedError):
            return
        alone = not isinstance(trainer.strategy, Sharded)  # gathering weights needs all processes
        whole = alone and not trainer.validating and cast(Pretrainer, pl_module).rewind()  # the state is consistent
        if whole and not self._writing:
            try:
                self.write(trainer)
            except (OSError, DivergedError) as error:
                exception.add_note(f"the state before this step could not be saved: {error}")
        if checkpoint_files.files(self.folder.parent):
            exception.add_note(f"step {self.step} is saved; the same command resumes from there")

    def write(self, trainer: pl.Trainer) -> None:
        self._writing = True
        cast(Pretrainer, trainer.lightning_module).check()
        part = self.folder / checkpoint_files.PART
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            checkpoint_files.keep(part, self.count)
        agreed(trainer, True)  # processes wait here: the end of one ends the run
        self.written, self.step = self.clock(), trainer.global_step
        self._writing = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        done = cast(Pretrainer, pl_module).batches
        loop["epoch_loop.batch_progress"] = settled(loop["epoch_loop.batch_progress"], done)
        checkpoint[checkpoint_files.CONTENTS] = self.contents

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            if number == REQUESTS[0]:
                raise KeyboardInterrupt
            return
        self.asked = number


def settled(progress: Mapping[str, Any], done: int) -> dict[str, Any]:
    """Lightning's batch counters after `done` batches (over all epochs), before the next one is fetched.

    Lightning counts a batch when it is fetched, and again after resuming: each interruption would shift the following
    validations by one batch.
    """
    before = progress["current"]["completed"] - (progress["total"]["completed"] - done)
    counts = {"current": before, "total": done}
    return {name: dict.fromkeys(progress[name], count) for name, count in counts.items()} | {"is_last_batch": False}
