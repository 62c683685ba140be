"""The linear probe at every layer: where in the network the classes are read off best."""

from typing import ClassVar

import torch

from ssl_runner.evaluation.logistic import Grid, fit_linear
from ssl_runner.evaluation.subject import evaluating
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Evaluator, Finding, Subject


class Layers(Evaluator):
    """A linear probe on the pooled output of every block: its settings chosen on "val", "test" touched once by each.

    The headline, accuracy@-1, is that of the last block, as the linear probe's is; best_layer (-1: the last block) is
    the one with the best accuracy on val, of equals the last. The best on test is never chosen.
    """

    pixels_are_control: ClassVar[bool] = False  # they have no blocks

    def __init__(self, *, learning_rates: list[float], weight_decays: list[float], steps: int, batch_size: int) -> None:
        self.grid = Grid(learning_rates=learning_rates, weight_decays=weight_decays, steps=steps, batch_size=batch_size)
        self.grid.check("evaluation.layers")

    def __call__(self, subject: Subject) -> Finding:
        names = [str(-place) for place in range(1, _count(subject) + 1)]
        accuracy, val_accuracy, choices = {}, {}, {}
        for name in names:
            train, val, test = (subject.features(split, name) for split in ("train", "val", "test"))
            fit = fit_linear(
                train.data.to(subject.device),
                train.label.to(subject.device),
                val.data.to(subject.device),
                val.label.to(subject.device),
                subject.data.spec.classes,
                self.grid,
                seed=subject.seed,
            )
            accuracy[name] = fit.accuracy(test.data.to(subject.device), test.label.to(subject.device))
            val_accuracy[name] = fit.val_accuracy
            choices[name] = {
                "width": train.data.shape[1],
                "val_accuracy": fit.val_accuracy,
                "learning_rate": fit.learning_rate,
                "weight_decay": fit.weight_decay,
                "at the grid's edge": ", ".join(fit.at_edge),
            }
        best = max(names, key=val_accuracy.__getitem__)  # of equals the first in the list: the last block
        return Finding(
            metrics={f"accuracy@{name}": value for name, value in accuracy.items()} | {"best_layer": float(best)},
            protocol={
                "evaluator": "linear probe of every block",
                "features": "standardised by train",
                "split": "test",
                "train": len(train.label),
                "chosen on": f"val ({len(val.label)} labels)",
                "settings": len(self.grid.settings),
                "steps": self.grid.steps,
                "layers": choices,
                "seed": subject.seed,
            },
            figures={
                "accuracy by depth": Lines(
                    x=range(1, len(names) + 1),
                    y={"accuracy": [accuracy[name] for name in reversed(names)]},
                    x_label="block, from the input",
                    y_label="accuracy on test",
                    note="A linear classifier on the frozen output of each block.",
                )
            },
        )


def _count(subject: Subject) -> int:
    """The blocks of the subject's encoder."""
    image = subject.data.spec.to_input(subject.data.examples("val").data[:2].to(subject.device))
    with evaluating(subject.encoder), torch.inference_mode():
        return len(subject.encoder(image, layers=True).layers)
