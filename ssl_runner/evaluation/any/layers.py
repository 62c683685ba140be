"""The linear probe at every layer: where in the network classes are most linearly separable."""

from typing import ClassVar

import torch

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.accuracies import accuracies, accuracy_of
from ssl_runner.evaluation.any.logistic import Grid, fit_probe
from ssl_runner.evaluation.any.subject import TOLD, evaluating, sizes
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Evaluator, Finding, Subject
from ssl_runner.results.metrics import Metric, Protocol


class Layers(Evaluator):
    """A linear probe on the pooled output of each block; settings are chosen on "val", "test" is used once by each.

    Metrics: `accuracies.accuracies` of each block, on test and val; since the settings are chosen on val, its figures
    are the higher for it. The best layer (-1: the last block) is the one with the best accuracy on val, of equals the
    last; the best on test is never chosen.
    """

    pixels_are_control: ClassVar[bool] = False  # they have no blocks
    reads_blocks: ClassVar[bool] = True

    def __init__(self, *, grid: Grid) -> None:
        self.grid = grid
        self.grid.check("evaluation.layers.grid")

    def __call__(self, subject: Subject) -> Finding:
        device = subject.device
        found: dict[int, list[Metric]] = {}
        chosen, measured = {}, {}
        for layer in tracked(range(-1, -_count(subject) - 1, -1), "blocks"):
            features = {split: subject.features(split, str(layer)) for split in TOLD}
            fit = fit_probe(subject, str(layer), self.grid)
            logits = {split: fit.logits(features[split].data.to(device)).cpu() for split in TOLD}
            of_layer = {"condition": {"layer": layer}}
            found[layer] = [
                each for split in TOLD for each in accuracies(subject.data, split, logits[split], **of_layer)
            ]
            chosen[str(layer)] = fit.chosen
            measured[str(layer)] = {"width": len(fit.mean), "at the grid's edge": ", ".join(fit.at_edge)}
        best = max(found, key=lambda layer: accuracy_of(found[layer], "val"))  # of equals the first: the last block
        return Finding(
            [each for metrics in found.values() for each in metrics],
            Protocol(
                terms={"method": "linear probe of every block", "features": "standardized by train"},
                chosen={"best layer": best, **chosen},
                measured={**measured, **sizes(subject, "train", *TOLD), "seed": subject.seed},
            ),
            {
                "accuracy by depth": Lines(
                    x=list(reversed(found)),
                    y={"accuracy": [accuracy_of(found[layer], "test") for layer in reversed(found)]},
                    x_label="layer: a block, counted from the output",
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
