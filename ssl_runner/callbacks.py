"""What happens around training: metrics, progress and status, k-NN accuracy, the watch for a collapse."""

import math
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import Tensor

from ssl_runner.data.splits import nested_subsets
from ssl_runner.evaluation.geometry import effective_rank, spread, uniformity
from ssl_runner.evaluation.knn import vote
from ssl_runner.evaluation.subject import evaluating, extract
from ssl_runner.interfaces import Batch, Data, Examples, Objective
from ssl_runner.nn.gather import mean_over_ranks, rank
from ssl_runner.nn.sharding import gathered
from ssl_runner.reporting.status import Status, write_status
from ssl_runner.training import DivergedError, Pretrainer, step_seed

NEIGHBOURS, TEMPERATURE = 20, 0.07  # of the monitor: as in conf/evaluation/knn.yaml
STATUS_SECONDS = 1.0  # between two notes of the status


class Writes(Protocol):
    """What metrics are written to."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...


class CollapsedError(Exception):
    """The features, or what the objective names in `floors`, no longer tell examples apart."""


class Record(pl.Callback):
    """Read the tallied logs every `every` steps, write them, show progress; only then the host waits for the device.

    `folder`: the run's, where its status is kept. Raises DivergedError at the first reading of a loss that is not
    finite.
    """

    def __init__(self, loggers: Sequence[Writes], every: int, console: Console, folder: Path) -> None:
        self.loggers = loggers
        self.every = every
        self.console = console
        self.folder = folder
        self.first: float | Tensor | None = None  # the first step's loss
        self.last: float | None = None
        self.seconds = 0.0  # of training steps alone
        self.bar: Progress | None = None
        self.began = False  # after what a checkpoint holds was put in its places
        self._since = 0.0
        self._said = 0  # the step last read
        self._shown = -1.0  # the progress last printed
        self._noted = -STATUS_SECONDS  # when the status was last written
        self._skipped = 0  # steps whose leaving out was said

    def state_dict(self) -> dict[str, Any]:
        self._count()
        return {"first": self.loss_first, "last": self.last, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first, self.last, self.seconds = (state_dict[key] for key in ("first", "last", "seconds"))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = True
        self._since = time.monotonic()
        self._said = trainer.global_step  # it was read before a stop, and with accumulation the step lasts
        self._skipped = cast(Pretrainer, pl_module).skipped
        if self.console.is_terminal:
            columns = "{task.percentage:>3.0f}%", "loss {task.fields[loss]}", "{task.fields[rate]}"
            self.bar = Progress(TextColumn("pretraining"), BarColumn(), *map(TextColumn, columns), console=self.console)
            self.bar.add_task("", total=1.0, loss="-", rate="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, module = trainer.global_step, cast(Pretrainer, pl_module)
        if module.skipped > self._skipped:
            self._skipped = module.skipped
            said = f"step {step} is left out: its loss or gradient is not finite"
            self.console.print(
                f"warning: {said} ({module.skipped} of at most {module.skip_nonfinite})", style="yellow", soft_wrap=True
            )
        tally = module.tally["train"]
        if self.first is None and module.phase == "moving" and tally.count:  # the first step that was not left out
            self.first = mean_over_ranks(tally.sums["loss"] / tally.count)
        if step % self.every == 0 and step != self._said:
            self._read(trainer, module)

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
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _count(self) -> None:
        """Add the seconds since the last look at the clock."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now

    @property
    def loss_first(self) -> float | None:
        """Of the first step that was not left out, over all processes; waits for the device."""
        return None if self.first is None else float(self.first)

    def _read(self, trainer: pl.Trainer, pl_module: Pretrainer) -> None:
        values = pl_module.tally["train"].read()
        if not values:  # all steps since were left out
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

    def _show(self, pl_module: Pretrainer, loss: float) -> None:
        if rank():
            return  # one process speaks
        done, seconds = pl_module.progress, pl_module.clock.seconds
        left = seconds * (1 - done) / max(done, 1e-9)
        rate = f"{pl_module.examples / max(seconds, 1e-9):,.0f} examples/s  {left:,.0f} s left"
        if time.monotonic() - self._noted >= STATUS_SECONDS:
            self._noted = time.monotonic()
            write_status(self.folder, Status("pretraining", done, loss, left))
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, loss=f"{loss:.4f}", rate=rate)
        elif int(done * 10) > int(self._shown * 10):
            self.console.print(f"pretraining {done:4.0%}  loss {loss:.4f}  {rate}", highlight=False)
            self._shown = done


class Monitor(pl.Callback):
    """Write `val/knn_accuracy` at each validation: a curve in [0, 1] that compares objectives, as their losses do not.

    A weighted vote of nearest neighbours (`evaluation.knn.vote`) on the encoder as it is, frozen, in eval mode. Those
    who vote are `examples` of "train", and those who are judged as many of "val", at most: stratified, at least one a
    class, the same in all runs on the same data. "test" is not touched. Nothing is drawn or moved, so that training
    goes on as if nobody had looked; the seconds are taken off the budget's clock. They do not count in `Record`
    either if this callback comes before it.

    Raises ValueError where examples of "train" or "val" have no label.
    """

    def __init__(self, data: Data, examples: int, loggers: Sequence[Writes], batch_size: int) -> None:
        self.spec = data.spec
        self.train, self.val = (_few(data.examples(split), examples) for split in ("train", "val"))
        self.loggers = loggers
        self.batch_size = batch_size

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module, begun = cast(Pretrainer, pl_module), time.monotonic()
        with gathered(module.objective):
            accuracy = self._accuracy(module)
        module.clock.started += time.monotonic() - begun
        values = {
            "epoch": float(trainer.current_epoch),
            "seconds": round(module.clock.seconds, 3),
            "val/knn_accuracy": accuracy,
        }
        for logger in self.loggers:
            logger.log_metrics(values, trainer.global_step)

    def _accuracy(self, module: Pretrainer) -> float:
        known, asked = (
            extract(
                module.objective.exported,
                self.spec,
                examples.data,
                device=module.device,
                batch_size=self.batch_size,
            )["pooled"]
            for examples in (self.train, self.val)
        )
        k = min(NEIGHBOURS, len(known))
        predicted = vote(known, self.train.label, asked, self.spec.classes, k=k, temperature=TEMPERATURE)
        return (predicted == self.val.label).double().mean().item()


def _few(examples: Examples, count: int) -> Examples:
    """`count` labelled examples, stratified, at least one a class; all where there are fewer."""
    share = min(1.0, count / len(examples.label))
    (chosen,) = nested_subsets(examples.label, fractions=[share], per_class=[], seed=0).values()
    return Examples(examples.data[chosen], examples.label[chosen])


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
        """All that is watched; nothing where features are not finite, for `Record` says that."""
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
        message = f"collapse at step {step}: {seen}. The likely cause: {objective.collapse}"
        if self.early_stop == "collapse":
            raise CollapsedError(message)
        self.console.print(f"warning: {message}", style="yellow", soft_wrap=True)
        self._warned = True


def peak_memory_mb(device: torch.device) -> float:
    """Of the GPU where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
