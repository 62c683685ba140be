"""The class whose mean feature is nearest."""

import torch

from ssl_runner.evaluation.any.accuracies import accuracies
from ssl_runner.evaluation.any.subject import TOLD, named_layer, sizes
from ssl_runner.interfaces import Evaluator, Finding, Subject
from ssl_runner.results.metrics import Metric, Protocol


class Centroids(Evaluator):
    """Classify by the nearest of the classes' mean features on "train"; nothing is chosen.

    Metrics: `accuracies.accuracies` of the negated Euclidean distances, on test and val, in [0, 1].
    """

    def __init__(self, *, layer: str | int) -> None:
        self.layer = named_layer("evaluation.centroids.layer", layer)

    def __call__(self, subject: Subject) -> Finding:
        train = subject.features("train", self.layer)
        classes = subject.data.spec.classes
        member = torch.nn.functional.one_hot(train.label, classes).float()  # (n, K)
        means = member.mT @ train.data / member.sum(0)[:, None]
        metrics: list[Metric] = []
        for split in TOLD:
            distance = torch.cdist(subject.features(split, self.layer).data, means)
            metrics += accuracies(subject.data, split, -distance)
        return Finding(metrics, Protocol(terms={"method": "nearest mean"}, measured=sizes(subject, "train", *TOLD)))
