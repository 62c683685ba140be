"""The one LightningModule: any objective, optimizer, schedule and budget."""

import hashlib
import math
import time
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssl_runner.config import Budget
from ssl_runner.interfaces import Batch, DataSpec, Loss, Objective
from ssl_runner.nn.gather import mean_over_ranks, ranks
from ssl_runner.optim import Schedule, lay_out


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
    """How much of a budget is spent."""

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


def total_steps(budget: Budget, steps_per_epoch: int, samples_per_step: int) -> int | None:
    """Optimizer steps that a budget buys; None where time decides."""
    match budget.unit:
        case "epochs":
            return int(budget.amount) * steps_per_epoch
        case "steps":
            return int(budget.amount)
        case "samples":
            return math.ceil(budget.amount / samples_per_step)
    return None


def step_seed(*parts: Any) -> int:
    """A seed that is a function of its arguments alone."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


class Pretrainer(pl.LightningModule):
    """Train an objective. All randomness of a step follows from (seed, rank, step): any step can be replayed alone."""

    def __init__(
        self,
        objective: Objective,
        spec: DataSpec,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        clock: Clock,
        seed: int,
        control: Literal["none", "shuffled_target"],
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
        self.carry: Any = None
        self.examples = 0
        self.batches = 0  # begun, over all epochs

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer

    @property
    def progress(self) -> float:
        return self.clock.progress(self.trainer.global_step)

    def on_train_start(self) -> None:
        lay_out(self.optimizer)  # it may come from a checkpoint
        self.clock.started = time.monotonic()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.batches += 1
        torch.manual_seed(step_seed(self.seed, self.global_rank, self.batches))
        factor = self.schedule(self.clock.progress(self.trainer.global_step + 0.5))
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.tally["train"].add(loss)
        self.carry = loss.carry
        self.examples += ranks() * len(batch.data)
        return loss.value

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
        if not self.trainer.fit_loop.epoch_loop._should_accumulate():
            self.objective.after_step(self.carry, self.progress)
        self.carry = None
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["budget"] = {"seconds": self.clock.seconds, "examples": self.examples, "batches": self.batches}
        checkpoint["tally"] = {"sums": self.tally["train"].sums, "count": self.tally["train"].count}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.clock.spent = checkpoint["budget"]["seconds"]
        self.examples = checkpoint["budget"]["examples"]
        self.batches = checkpoint["budget"]["batches"]
        sums = {name: value.to(self.device) for name, value in checkpoint["tally"]["sums"].items()}
        self.tally["train"].sums, self.tally["train"].count = sums, checkpoint["tally"]["count"]


def precision(choice: str, device: torch.device) -> torch.dtype:
    """bfloat16 where it is asked for, or `auto` and the hardware computes it fast."""
    if choice == "float32":
        return torch.float32
    if choice == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        # AVX512-BF16 alone does not suffice: without tiles small convolutions and attention were slower than in float32
        return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
    return torch.float32
