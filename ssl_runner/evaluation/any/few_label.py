"""Few labels: the linear probe on small subsets of the training labels."""

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ssl_runner.data.any.progress import tracked
from ssl_runner.data.any.splits import nested_subsets
from ssl_runner.evaluation.any.accuracies import accuracies, accuracy_of, predictions
from ssl_runner.evaluation.any.logistic import Grid, LinearFit, fit_few, fit_probe
from ssl_runner.evaluation.any.subject import TOLD, named_layer, sizes
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Evaluator, Examples, Finding, Subject
from ssl_runner.results.metrics import Metric, Protocol
from ssl_runner.results.predictions import Predictions


class FewLabel(Evaluator):
    """The linear probe on stratified, seeded, nested subsets of "train": 1 % inside 10 % inside 100 %.

    Learning rate and weight decay are chosen on no more labels of "val" than the subset has labels of its own:
    choosing on all of val would use labels that someone with so few does not have. So twice the named number of labels
    is used at most. A fraction has at least one example a class; a number per class that the smallest class of train
    does not have is left out, and the protocol says so. Metrics: `accuracies.accuracies` of each subset, on all of test
    and of val, in [0, 1]; since the settings are chosen on a part of val, its figures are the higher for it.
    """

    presentation: ClassVar[frozenset[str]] = frozenset({"fractions", "per_class"})  # which there are; conditions say it
    key: ClassVar[str] = "evaluation.few_label"  # in the config, for messages

    def __init__(self, *, layer: str | int, fractions: list[float], per_class: list[int], grid: Grid) -> None:
        self.layer = named_layer(f"{self.key}.layer", layer)
        if not fractions and not per_class:
            raise ValueError(f"{self.key}.fractions and per_class are both empty; list a number in one of them")
        if any(not 0 < fraction <= 1 for fraction in fractions):
            raise ValueError(f"{self.key}.fractions is {list(fractions)}; each must lie in (0, 1]")
        if any(number < 1 for number in per_class):
            raise ValueError(f"{self.key}.per_class is {list(per_class)}; each must be at least 1")
        self.fractions = list(fractions)
        self.per_class = list(per_class)
        self.grid = grid
        self.grid.check(f"{self.key}.grid")

    def __call__(self, subject: Subject) -> Finding:
        features = {split: subject.features(split, self.layer) for split in ("train", *TOLD)}
        train = features["train"]
        smallest = int(train.label.bincount(minlength=subject.data.spec.classes).min())
        left_out = [number for number in self.per_class if number > smallest]
        subsets = nested_subsets(
            train.label,
            fractions=self.fractions,
            per_class=[number for number in self.per_class if number <= smallest],
            seed=subject.seed,
        )
        if not subsets:
            raise ValueError(
                f"{self.key}.per_class is {self.per_class}, and the smallest class of train has {smallest} "
                "examples; list smaller numbers, or a fraction"
            )
        fits = {
            few: self._fit(subject, train, features["val"], subset)
            for few, subset in tracked(list(subsets.items()), "subsets of the labels")
        }
        metrics: list[Metric] = []
        said: list[Predictions] = []
        curve: dict[int, float] = {}
        for few, (fit, _) in fits.items():
            logits = {split: fit.logits(features[split].data.to(subject.device)).cpu() for split in TOLD}
            condition = {"condition": few.condition}
            found = [each for split in TOLD for each in accuracies(subject.data, split, logits[split], **condition)]
            metrics += found
            said += [predictions(subject.data, split, logits[split], **few.condition) for split in TOLD]
            curve[len(subsets[few])] = accuracy_of(found, "test")
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "linear probe on few labels",
                    "features": "standardized by the subset",
                    "chosen on": "val, as many labels as the subset has, at most",
                },
                chosen={str(few): fit.chosen for few, (fit, _) in fits.items()},
                measured={
                    **{str(few): about(subsets[few]) | measured for few, (_, measured) in fits.items()},
                    "left out": [
                        f"{number} per class: the smallest class of train has {smallest}" for number in left_out
                    ],
                    **sizes(subject, *TOLD),
                    "seed": subject.seed,
                },
            ),
            {
                "accuracy by labels": by_labels(
                    curve, "A linear classifier on frozen features, trained on nested subsets of the labels."
                )
            },
            said,
        )

    def _fit(
        self, subject: Subject, train: Examples, val: Examples, subset: Tensor
    ) -> tuple[LinearFit, dict[str, Any]]:
        """The classifier of one subset of train, (n,) indices, chosen on at most as many of val; and measurements."""
        share = min(1.0, len(subset) / len(val.label))
        (held,) = nested_subsets(val.label, fractions=[share], per_class=[], seed=subject.seed).values()
        if len(subset) == len(train.label) and len(held) == len(val.label):
            fit = fit_probe(subject, self.layer, self.grid)
        else:
            few = Examples(train.data[subset], train.label[subset])
            fit = fit_few(subject, few, Examples(val.data[held], val.label[held]), self.grid)
        return fit, {"val labels": len(held), "at the grid's edge": ", ".join(fit.at_edge)}


def about(subset: Tensor) -> dict[str, Any]:
    """The protocol entries of a subset of train, (n,) indices."""
    return {"train labels": len(subset), "indices": hashlib.sha256(subset.numpy().tobytes()).hexdigest()[:16]}


def by_labels(curve: Mapping[int, float], note: str) -> Lines:
    """Test accuracies by number of training labels."""
    return Lines(
        x=sorted(curve),
        y={"accuracy": [curve[labels] for labels in sorted(curve)]},
        x_label="labeled examples to train on",
        y_label="accuracy on test",
        log_x=True,
        note=note,
    )
