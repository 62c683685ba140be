"""k-NN accuracy of the encoder during pretraining."""

import time
from collections.abc import Sequence
from typing import cast

import pytorch_lightning as pl

from ssl_runner.data.any.splits import nested_subsets
from ssl_runner.evaluation.any.knn import vote
from ssl_runner.evaluation.any.subject import extract
from ssl_runner.interfaces import Data, Examples
from ssl_runner.nn.sharding import gathered
from ssl_runner.training.pretrainer import Pretrainer
from ssl_runner.training.progress import Writes

NEIGHBORS, TEMPERATURE = 20, 0.07  # as in conf/evaluation/any/knn.yaml


class Monitor(pl.Callback):
    """Write `val/knn_accuracy` at each validation: a curve in [0, 1] that compares objectives, as their losses do not.

    A weighted vote of nearest neighbors (`evaluation.knn.vote`) on the encoder as it is, frozen, in eval mode. Those
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
        k = min(NEIGHBORS, len(known))
        predicted = vote(known, self.train.label, asked, self.spec.classes, k=k, temperature=TEMPERATURE)
        return (predicted == self.val.label).double().mean().item()


def _few(examples: Examples, count: int) -> Examples:
    """`count` labeled examples, stratified, at least one a class; all where there are fewer."""
    share = min(1.0, count / len(examples.label))
    (chosen,) = nested_subsets(examples.label, fractions=[share], per_class=[], seed=0).values()
    return Examples(examples.data[chosen], examples.label[chosen])
