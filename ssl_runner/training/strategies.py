"""Strategies of distributed training."""

import signal
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from ssl_runner.nn.sharding import part_of, unfused, whole
from ssl_runner.runtime.distributed import world


class Together(DDPStrategy):
    """Each process has the whole model and a part of the batch; gradients are averaged over them.

    Buffers are not sent around: they are equal, for what moves them is gathered. Lightning's barriers do nothing, so
    that process 0 writes a checkpoint when it likes; processes meet in the sums of a step.
    """

    def __init__(self) -> None:
        super().__init__(
            cluster_environment=TorchElasticEnvironment(), broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        pass


class Sharded(Together):
    """Each process has a part of every weight, gradient and optimizer state (`nn.sharding`), and a part of the batch.

    A checkpoint is the one that a single process writes, so that either goes on from the other's: its tensors are made
    whole on process 0, for which all processes have to write at once (`agreed`).
    """

    def configure_ddp(self) -> None:
        """Nothing wraps the module: its weights gather themselves."""

    def setup_optimizers(self, trainer: pl.Trainer) -> None:
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            unfused(optimizer)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return whole(super().lightning_module_state_dict())

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return whole(super().optimizer_state(optimizer))

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        own = super().lightning_module_state_dict()
        state = {name: part_of(value, own[name]) for name, value in checkpoint["state_dict"].items()}
        super().load_model_state_dict({"state_dict": state}, strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        super().load_optimizer_state_dict(checkpoint)
        for optimizer in self.optimizers:
            for parameter, state in optimizer.state.items():
                state.update({name: part_of(value, parameter) for name, value in state.items()})
            unfused(optimizer)


def agreed(trainer: pl.Trainer, wish: bool) -> bool:
    """What process 0 wishes, where weights are shared out: all processes ask at the same points, and wait for each
    other and for the device. Else `wish`."""
    if not isinstance(trainer.strategy, Sharded):
        return wish
    told = torch.tensor(wish, device=trainer.strategy.root_device)
    dist.broadcast(told, 0)
    return bool(told)


class Follow(pl.Callback):
    """Only process 0 reacts to a request to stop; the launcher then ends the others."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning asks all of them before each batch whether one was told to stop, and waits for the device.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
        if world().rank:
            deaf()


def deaf() -> None:
    """Ignore signals that ask a process to stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _nothing() -> None:
    pass
