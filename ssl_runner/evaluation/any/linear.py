"""The linear probe: a linear classifier on frozen features."""

from ssl_runner.evaluation.any.accuracies import answers
from ssl_runner.evaluation.any.logistic import Grid, fit_probe
from ssl_runner.evaluation.any.subject import TOLD, named_layer, sizes
from ssl_runner.interfaces import Evaluator, Finding, Subject
from ssl_runner.results.metrics import Protocol


class LinearProbe(Evaluator):
    """Train softmax regression on "train" for a grid of settings, choose on "val", report "test" of the chosen one.

    The chosen classifier is not trained again on train and val together. Metrics: `accuracies.answers`, on test and
    val, in [0, 1]; since the settings are chosen on val, its figures are the higher for it.
    `evaluation.logistic.fit_probe` says what is minimized and how.
    """

    def __init__(self, *, layer: str | int, grid: Grid) -> None:
        self.layer = named_layer("evaluation.linear.layer", layer)
        self.grid = grid
        self.grid.check("evaluation.linear.grid")

    def __call__(self, subject: Subject) -> Finding:
        features = {split: subject.features(split, self.layer) for split in TOLD}
        device = subject.device
        fit = fit_probe(subject, self.layer, self.grid)
        logits = {split: fit.logits(features[split].data.to(device)).cpu() for split in TOLD}
        metrics, predictions = answers(subject.data, logits)
        return Finding(
            metrics,
            Protocol(
                terms={"method": "linear probe", "features": "standardized by train"},
                chosen=fit.chosen,
                measured={
                    "width": len(fit.mean),
                    "at the grid's edge": ", ".join(fit.at_edge),
                    **sizes(subject, "train", *TOLD),
                    "seed": subject.seed,
                },
            ),
            predictions=predictions,
        )
