"""The LightningModule for any objective, optimizer, schedule and budget."""

import hashlib
import math
import time
from collections import deque
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ssl_runner.config.names import tensors_now
from ssl_runner.config.schema import Budget
from ssl_runner.interfaces import Batch, DataSpec, Loss, Objective
from ssl_runner.nn.gather import mean_over_ranks, ranks
from ssl_runner.nn.sharding import local, said_by_all
from ssl_runner.training.optim import Schedule, lay_out
from ssl_runner.training.precision import LIGHTNING

RECENT = 4096  # batches that are remembered until the logs are read, at most
NAMED = 8  # examples that are named in a message


class Tally:
    """Running means of logged tensors, summed on the device and read once."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, loss: Loss) -> None:
        for name, value in (("loss", loss.value), *loss.logs.items()):
            value = value.detach().float()
            # The first is copied: a learned temperature is a weight itself, and moves.
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.count += 1

    def read(self) -> dict[str, float]:
        """The means since the last reading, over all processes, which must read together; waits for the device."""
        if not self.count:
            return {}
        values = (mean_over_ranks(torch.stack(list(self.sums.values()))) / self.count).tolist()
        names = list(self.sums)
        self.sums, self.count = {}, 0
        return dict(zip(names, values, strict=True))


class Clock:
    """The fraction of a budget that is spent."""

    def __init__(self, budget: Budget, steps: int | None) -> None:
        self.budget = budget
        self.steps = steps  # in all; None where time decides
        self.spent = 0.0  # seconds, before the last start
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.spent + time.monotonic() - self.started

    def progress(self, step: float) -> float:
        """The part of the budget spent, in [0, 1]. `step`: optimizer steps done."""
        if self.steps is None:
            return min(self.seconds / (60 * self.budget.amount), 1.0)
        return min(step / self.steps, 1.0)


def total_steps(budget: Budget, batches: int, batch_size: int, accumulate: int) -> int | None:
    """Optimizer steps of a budget, with `batches` per epoch; None for a budget in minutes.

    The last step of an epoch is of fewer than `accumulate` batches where these do not divide the epoch's.
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
    """By what the loss of an epoch's batch number `batch` is multiplied, that its step be by the mean over its batches.

    Lightning divides by `accumulate`; the last step of an epoch of `batches` may be of fewer.

    >>> [share(batch, 5, 3) for batch in range(5)]
    [1.0, 1.0, 1.0, 1.5, 1.5]
    """
    return accumulate / min(accumulate, batches - batch // accumulate * accumulate)


def step_seed(*parts: Any) -> int:
    """A seed that depends only on `parts`, such as (seed, rank, step)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


class Seen(NamedTuple):
    """A training batch: its step, epoch and examples."""

    step: int  # of the optimizer, that it is part of
    epoch: int
    batch: int  # over all epochs
    loss: Tensor  # ()
    examples: Tensor  # (B,) their places in the split


class DivergedError(Exception):
    """The loss, or what it made of the weights, is no longer a number. `seen`: the batch; None: another process'."""

    def __init__(self, what: str, seen: Seen | None) -> None:
        if seen is not None:
            shown = seen.examples[:NAMED].tolist()
            more = len(seen.examples) - len(shown)
            examples = ", ".join(map(str, shown)) + f" and {more} more" * bool(more)
            what += f", batch {seen.batch} (epoch {seen.epoch}; of pretrain the examples {examples})"
        super().__init__(what)
        self.seen = seen


class Before(NamedTuple):
    """What a step moves before the optimizer does, as it was when the step began."""

    batches: int
    examples: int
    sums: dict[str, Tensor]  # of the tally
    tallied: int
    statistics: list[Tensor]


class Pretrainer(pl.LightningModule):
    """Train an objective. All randomness of a step follows from (seed, rank, step): any step can be replayed alone.

    `skip_nonfinite`: so many steps are left out whose loss or gradient is not finite, and then DivergedError is raised;
    with 0 nothing is looked for here, for the host would wait for the device: `check` and the reading of the logs do.
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
    ) -> None:
        super().__init__()
        self.objective = objective
        self.spec = spec
        self.optimizer = optimizer
        self.schedule = schedule
        self.clock = clock
        self.seed = seed
        self.control = control
        self.peaks = [group["lr"] * group["lr_scale"] for group in optimizer.param_groups]
        self.tally = {"train": Tally(), "val": Tally()}
        self.carries: list[Any] = []  # of the batches of the step at hand
        self.examples = 0
        self.batches = 0  # begun, over all epochs
        self.skip_nonfinite = skip_nonfinite
        self.skipped = 0  # steps
        self.recent: deque[Seen] = deque(maxlen=RECENT)  # since the logs were last read
        self.phase: Literal["between", "computing", "moving"] = (
            "between"  # between steps; up to, and from the optimizer
        )
        self._at = 1, 0  # the step at hand, and the epoch
        self._left_out = False  # the step at hand
        self._share = 1.0  # by which a batch's loss counts in its step
        self._before = Before(0, 0, {}, 0, [])
        self._statistics: list[Tensor] = []  # of batch normalization, the only state that a loss moves

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
            self.trainer.should_stop = True  # the time was spent before a stop

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.phase == "between":
            self._remember()
            self.phase = "computing"
        self.batches += 1
        self._at = self.trainer.global_step + 1, self.trainer.current_epoch
        self._share = share(batch_idx, int(self.trainer.num_training_batches), self.trainer.accumulate_grad_batches)
        torch.manual_seed(step_seed(self.seed, self.global_rank, self.batches))
        factor = self.schedule(self.clock.progress(self.trainer.global_step + 0.5))
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.recent.append(Seen(*self._at, self.batches, loss.value.detach(), batch.index))
        self.tally["train"].add(loss)
        self.carries.append(loss.carry)
        self.examples += ranks() * len(batch.data)
        return loss.value * self._share

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.phase = "moving"
        self._left_out = self.skip_nonfinite > 0 and not self._step_is_finite()
        if self._left_out:
            self._leave_out()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By the norm of all gradients. Lightning's own refuses fused optimizers under autocast: they undo the scale of
        the loss in the step, after it has clipped; but bfloat16 has no such scale."""
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
        x, y = self.objective.split(batch._replace(data=self.spec.to_input(batch.data)))
        if self.control == "shuffled_target":
            x, y = self.objective.shuffle(x, y)
        return self.objective.loss(x, y)

    def rewind(self) -> bool:
        """Go back to where the step at hand began, once it has failed; False where the weights may have moved."""
        if self.phase == "computing":
            self.batches, self.examples = self._before.batches, self._before.examples
            self._restore()
            self.phase = "between"
        return self.phase == "between"

    def check(self) -> None:
        """Raise DivergedError where a recent loss or a weight is not finite; waits for the device, and where weights
        are shared out for all processes."""
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
        """Of all processes: they share the gradient, and the mean of their losses is taken."""
        losses = torch.stack([seen.loss for seen in self.recent if seen.batch > self._before.batches])
        gradients = [p.grad for p in self.objective.parameters() if p.grad is not None]
        return said_by_all(self.objective, all_finite([mean_over_ranks(losses.sum()), *gradients]))

    def _leave_out(self) -> None:
        """Without gradients the optimizer moves nothing, not even by its momentum."""
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
        self.clock.spent = checkpoint["budget"]["seconds"]
        self.examples = checkpoint["budget"]["examples"]
        self.batches = checkpoint["budget"]["batches"]
        sums = {name: value.to(self.device) for name, value in checkpoint["tally"]["sums"].items()}
        self.tally["train"].sums, self.tally["train"].count = sums, checkpoint["tally"]["count"]
        self.skipped = checkpoint.get("skipped", 0)


def statistics_of(module: nn.Module) -> list[Tensor]:
    """The running statistics of all normalizations in a module."""
    norms = [each for each in module.modules() if isinstance(each, _NormBase)]
    values = [value for norm in norms for value in (norm.running_mean, norm.running_var, norm.num_batches_tracked)]
    return [value for value in values if value is not None]


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether all values are finite; of a sparse tensor the stored ones, of a sharded one those of this process. Waits
    for the device.
    """
    dense = [value.coalesce().values() if value.is_sparse else local(value) for value in tensors]
    return not dense or bool(torch.stack([value.isfinite().all() for value in dense]).all())
