"""How processes train together."""

import signal
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from ssl_runner.world import world


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


class Follow(pl.Callback):
    """In all processes: process 0 alone heeds a request to stop, and whoever started the others ends them then."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning asks all of them before each batch whether one was told to stop, and waits for the device.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]
        if world().rank:
            deaf()


def deaf() -> None:
    """Ignore what asks a process to stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _nothing() -> None:
    pass
