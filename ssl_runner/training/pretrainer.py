"""The LightningModule for any objective, optimizer, schedule and budget."""

import hashlib
import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ssl_runner.config.names import tensors_now
from ssl_runner.config.schema import Budget
from ssl_runner.data.any.tensors import as_input
from ssl_runner.interfaces import Batch, DataSpec, Loss, Objective
from ssl_runner.nn.gather import mean_over_ranks, ranks
from ssl_runner.nn.sharding import local, said_by_all
from ssl_runner.training.optim import Schedule, lay_out
from ssl_runner.training.precision import LIGHTNING

RECENT = 4096  # batches kept until the logs are read, at most
NAMED = 8  # examples listed in a message


class Tally:
    """Running means of logged tensors, summed on the device and read once."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, loss: Loss) -> None:
        for name, value in (("loss", loss.value), *loss.logs.items()):
            value = value.detach().float()
            # The first value is copied: it may be a weight, such as a learned temperature, that changes in place.
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.count += 1

    def read(self) -> dict[str, float]:
        """The means since the last call, over all processes, which must all call it; synchronizes with the device."""
        if not self.count:
            return {}
        values = (mean_over_ranks(torch.stack(list(self.sums.values()))) / self.count).tolist()
        names = list(self.sums)
        self.sums, self.count = {}, 0
        return dict(zip(names, values, strict=True))


class Clock:
    """Measures the fraction of a budget that is spent."""

    def __init__(self, budget: Budget, steps: int | None) -> None:
        self.budget = budget
        self.steps = steps  # total; None for a budget in minutes
        self.spent = 0.0  # seconds, in earlier sessions
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def progress(self, step: float) -> float:
        """The fraction of the budget spent, in [0, 1]. `step`: optimizer steps done."""
        if self.steps is None:
            return min(self.seconds / (60 * self.budget.amount), 1.0)
        return min(step / self.steps, 1.0)


def total_steps(budget: Budget, batches: int, batch_size: int, accumulate: int) -> int | None:
    """Optimizer steps of a budget, with `batches` per epoch; None for a budget in minutes.

    The last step of an epoch has fewer batches if `accumulate` does not divide the number of batches.
    """
    steps_per_epoch = -(-batches // accumulate)
    match budget.unit:
        case "epochs":
            return int(budget.amount) * steps_per_epoch
        case "steps":
            return int(budget.amount)
        case "samples":
            epochs, rest = divmod(math.ceil(budget.amount / batch_size), batches)
            return epochs * steps_per_epoch + -(-rest // accumulate)
    return None


def share(batch: int, batches: int, accumulate: int) -> float:
    """The factor for the loss of batch number `batch` of an epoch, such that each step uses the mean over its batches.

    Lightning divides by `accumulate`, but the last step of an epoch of `batches` may have fewer batches.

    >>> [share(batch, 5, 3) for batch in range(5)]
    [1.0, 1.0, 1.0, 1.5, 1.5]
    """
    return accumulate / min(accumulate, batches - batch // accumulate * accumulate)


def step_seed(*parts: Any) -> int:
    """A seed that depends only on `parts`, such as (seed, rank, step)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


class Seen(NamedTuple):
    """A training batch: its step, epoch and examples."""

    step: int  # the optimizer step that it is part of
    epoch: int
    batch: int  # counted over all epochs
    loss: Tensor  # ()
    examples: Tensor  # (B,) positions in the split


class DivergedError(Exception):
    """The loss or a weight is not finite. `seen`: the batch; None if it is of another process."""

    def __init__(self, what: str, seen: Seen | None) -> None:
        if seen is not None:
            shown = seen.examples[:NAMED].tolist()
            more = len(seen.examples) - len(shown)
            examples = ", ".join(map(str, shown)) + f" and {more} more" * bool(more)
            what += f", batch {seen.batch} (epoch {seen.epoch}; of pretrain the examples {examples})"
        super().__init__(what)
        self.seen = seen


class Rate:
    """The learning rate and the weight decay of a parameter group over a run."""

    def __init__(self, group: Mapping[str, Any], decay_end: float | None) -> None:
        self.peak: float = group["lr"] * group["lr_scale"]
        self.scheduled: bool = group.get("scheduled", True)
        self.first: float = group.get("weight_decay", 0.0)
        self.last = decay_end
        self.decays = decay_end is not None and self.first > 0  # norms and biases are not decayed

    def lr(self, factor: float) -> float:
        """`factor`: of the peak, by the schedule."""
        return self.peak * factor if self.scheduled else self.peak

    def weight_decay(self, progress: float) -> float:
        """Half a cosine from the first to the last, as in Caron et al. 2021 (DINO), https://arxiv.org/abs/2104.14294."""
        if self.last is None:
            return self.first
        return self.last + (self.first - self.last) * 0.5 * (1 + math.cos(math.pi * progress))


class Before(NamedTuple):
    """State that a step changes before the optimizer runs, as it was at the start of the step."""

    batches: int
    examples: int
    sums: dict[str, Tensor]  # of the tally
    tallied: int
    statistics: list[Tensor]


class Pretrainer(pl.LightningModule):
    """Train an objective. All randomness of a step follows from (seed, rank, step), so any step can be replayed alone.

    `skip_nonfinite`: the number of steps with a non-finite loss or gradient that are skipped before DivergedError is
    raised. With 0 steps are not checked, which would synchronize with the device: only `check` and the reading of the
    logs find a divergence. `decay_end`: the weight decay at the end of the budget; None: it stays.
    """

    def __init__(
        self,
        objective: Objective,
        spec: DataSpec,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        clock: Clock,
        seed: int,
        control: Literal["none", "shuffled_target"],
        skip_nonfinite: int,
        decay_end: float | None = None,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.spec = spec
        self.optimizer = optimizer
        self.schedule = schedule
        self.clock = clock
        self.seed = seed
        self.control = control
        self.rates = [Rate(group, decay_end) for group in optimizer.param_groups]
        self.tally = {"train": Tally(), "val": Tally()}
        self.carries: list[Any] = []  # of the batches of the current step
        self.examples = 0
        self.batches = 0  # started, over all epochs
        self.skip_nonfinite = skip_nonfinite
        self.skipped = 0  # steps
        self.recent: deque[Seen] = deque(maxlen=RECENT)  # since the last reading of the logs
        self.phase: Literal["between", "computing", "moving"] = (
            "between"  # "between" steps, "computing" gradients, "moving" weights
        )
        self.batches_per_epoch: int | None = None  # where the checkpoint was written at the end of another run's budget
        self._at = 1, 0  # the current step and epoch
        self._left_out = False  # whether the current step is skipped
        self._share = 1.0  # the factor of a batch's loss in its step
        self._before = Before(0, 0, {}, 0, [])
        self._statistics: list[Tensor] = []  # of batch normalization, the only state that a loss changes

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    @property
    def progress(self) -> float:
        return self.clock.progress(self.trainer.global_step)

    def on_train_start(self) -> None:
        lay_out(self.optimizer)  # it may come from a checkpoint
        self.clock.started = time.monotonic()
        self._statistics = statistics_of(self.objective)
        self._before = self._before._replace(statistics=[value.clone() for value in self._statistics])
        if self.clock.steps is None and self.progress >= 1:
            self.trainer.should_stop = True  # the budget was spent before the run was interrupted

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.phase == "between":
            self._remember()
            self.phase = "computing"
        self.batches += 1
        self._at = self.trainer.global_step + 1, self.trainer.current_epoch
        self._share = share(batch_idx, int(self.trainer.num_training_batches), self.trainer.accumulate_grad_batches)
        torch.manual_seed(step_seed(self.seed, self.global_rank, self.batches))
        progress = self.clock.progress(self.trainer.global_step + 0.5)
        factor = self.schedule(progress)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate.lr(factor)
            if rate.decays:
                group["weight_decay"] = rate.weight_decay(progress)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.recent.append(Seen(*self._at, self.batches, loss.value.detach(), batch.index))
        self.tally["train"].add(loss)
        self.carries.append(loss.carry)
        self.examples += ranks() * len(batch.data)
        return loss.value * self._share

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.phase = "moving"
        for parameter in self.objective.frozen(self.progress):
            parameter.grad = None
        self._left_out = self.skip_nonfinite > 0 and not self._step_is_finite()
        if self._left_out:
            self._leave_out()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients. Lightning's own method refuses fused optimizers under autocast, since they
        unscale gradients after clipping; bfloat16 needs no loss scaling, so that this does not apply here."""
        if gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.objective.parameters(), gradient_clip_val)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.phase == "moving":
            if not self._left_out:
                self.objective.after_step(self.carries, self.progress)
            self.carries = []
            self.phase = "between"
        if self.clock.steps is None and self.progress >= 1:
            self.trainer.should_stop = True

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(step_seed(self.seed, "validation", batch_idx) + self.global_rank)
            self.tally["val"].add(self._loss(batch))

    def _loss(self, batch: Batch) -> Loss:
        x, y = self.objective.split(as_input(self.spec, batch))
        if self.control == "shuffled_target":
            x, y = self.objective.shuffle(x, y)
        return self.objective.loss(x, y)

    def rewind(self) -> bool:
        """After a failure, restore the state at the start of the step; False if the weights may have changed."""
        if self.phase == "computing":
            self.batches, self.examples = self._before.batches, self._before.examples
            self._restore()
            self.phase = "between"
        return self.phase == "between"

    def check(self) -> None:
        """Raise DivergedError if a recent loss or a weight is not finite. Synchronizes with the device, and with all
        processes if weights are sharded."""
        problem = self._diverged()
        if not said_by_all(self.objective, problem is None):
            raise problem or DivergedError(f"another process diverged by step {self.trainer.global_step}", None)

    def _diverged(self) -> DivergedError | None:
        if self.recent:
            finite = torch.stack([seen.loss for seen in self.recent]).isfinite()
            if not bool(finite.all()):
                seen = self.recent[int(finite.logical_not().nonzero()[0])]
                return DivergedError(f"the loss is {seen.loss.item()} at step {seen.step}", seen)
        if not all_finite([p.detach() for p in self.objective.parameters()]):
            last = self.recent[-1] if self.recent else None
            return DivergedError(f"weights are no longer finite after step {self.trainer.global_step}", last)
        return None

    def _remember(self) -> None:
        tally, statistics = self.tally["train"], self._before.statistics
        if statistics:
            torch._foreach_copy_(statistics, self._statistics)
        self._before = Before(self.batches, self.examples, dict(tally.sums), tally.count, statistics)

    def _restore(self) -> None:
        self.tally["train"].sums, self.tally["train"].count = dict(self._before.sums), self._before.tallied
        if self._statistics:
            torch._foreach_copy_(self._statistics, self._before.statistics)
        while self.recent and self.recent[-1].batch > self._before.batches:
            self.recent.pop()
        self.carries = []

    def _step_is_finite(self) -> bool:
        """Whether gradients and the mean loss are finite in all processes."""
        losses = torch.stack([seen.loss for seen in self.recent if seen.batch > self._before.batches])
        gradients = [p.grad for p in self.objective.parameters() if p.grad is not None]
        return said_by_all(self.objective, all_finite([mean_over_ranks(losses.sum()), *gradients]))

    def _leave_out(self) -> None:
        """Skip the current step: without gradients the optimizer changes nothing, not even by momentum."""
        seen = self.recent[-1]
        self._restore()
        self.skipped += 1
        for parameter in self.objective.parameters():
            parameter.grad = None
        if self.skipped > self.skip_nonfinite:
            raise DivergedError(
                f"the loss is {seen.loss.item()}, or its gradient is not finite, at step {seen.step}, after "
                f"{self.skip_nonfinite} such steps were skipped",
                seen,
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["budget"] = {"seconds": self.clock.seconds, "examples": self.examples, "batches": self.batches}
        checkpoint["tally"] = {"sums": self.tally["train"].sums, "count": self.tally["train"].count}
        checkpoint["skipped"] = self.skipped
        checkpoint["precision"] = next(own for own, known in LIGHTNING.items() if known == self.trainer.precision)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = tensors_now(checkpoint["state_dict"])  # an older version may have written it
        if self.batches_per_epoch is not None:
            go_on_within(checkpoint["loops"]["fit_loop"], checkpoint["budget"]["batches"], self.batches_per_epoch)
        self.clock.spent = checkpoint["budget"]["seconds"]
        self.examples = checkpoint["budget"]["examples"]
        self.batches = checkpoint["budget"]["batches"]
        sums = {name: value.to(self.device) for name, value in checkpoint["tally"]["sums"].items()}
        self.tally["train"].sums, self.tally["train"].count = sums, checkpoint["tally"]["count"]
        self.skipped = checkpoint.get("skipped", 0)


def go_on_within(loop: dict[str, Any], done: int, batches: int) -> None:
    """Set Lightning's counters to those between two batches, `done` batches after the start, of `batches` an epoch.

    Where a budget ends, Lightning counts its epoch as ended; a run that goes on from there would leave the rest of it
    out.
    """
    epoch, place = divmod(done, batches)
    for counts in (loop["epoch_progress"]["total"], loop["epoch_progress"]["current"]):
        counts.update(dict.fromkeys(("ready", "started"), epoch + 1), processed=epoch, completed=epoch)
    progress = loop["epoch_loop.batch_progress"]
    for name, count in (("total", done), ("current", place)):
        progress[name] = dict.fromkeys(progress[name], count)
    progress["is_last_batch"] = False


def statistics_of(module: nn.Module) -> list[Tensor]:
    """The running statistics of all normalization layers of a module."""
    norms = [each for each in module.modules() if isinstance(each, _NormBase)]
    values = [value for norm in norms for value in (norm.running_mean, norm.running_var, norm.num_batches_tracked)]
    return [value for value in values if value is not None]


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether all values are finite: the stored values of sparse tensors, this process's part of sharded ones.
    Synchronizes with the device.
    """
    dense = [value.coalesce().values() if value.is_sparse else local(value) for value in tensors]
    return not dense or bool(torch.stack([value.isfinite().all() for value in dense]).all())
