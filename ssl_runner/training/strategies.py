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
    """Data parallelism (DDP): each process has the whole model and a part of the batch, and gradients are averaged.

    Buffers are not broadcast: their updates are gathered, so that they are equal. Lightning's barriers do nothing, so
    that process 0 can write a checkpoint at any time; processes synchronize in the reductions of a step.
    """

    def __init__(self) -> None:
        super().__init__(
            cluster_environment=TorchElasticEnvironment(), broadcast_buffers=False, gradient_as_bucket_view=True
        )

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        pass


class Sharded(Together):
    """FSDP: each process has a shard of weights, gradients and optimizer states (`nn.sharding`), and of the batch.

    Checkpoints have the format of a single process, so that each can resume the other's run. Their tensors are gathered
    on process 0, for which all processes have to write at the same time (`agreed`).
    """

    def configure_ddp(self) -> None:
        """Do not wrap the module: sharded weights are gathered where they are used."""

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
    """With sharding, the `wish` of process 0: all processes call this at the same points, and synchronize with each
    other and the device. Otherwise `wish`."""
    if not isinstance(trainer.strategy, Sharded):
        return wish
    told = torch.tensor(wish, device=trainer.strategy.root_device)
    dist.broadcast(told, 0)
    return bool(told)


class Follow(pl.Callback):
    """Let only process 0 react to a request to stop; the launcher then ends the others."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Before each batch Lightning checks all processes for a request to stop, which synchronizes with the device.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
        if world().rank:
            deaf()


def deaf() -> None:
    """Ignore signals that request a stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _nothing() -> None:
    pass
