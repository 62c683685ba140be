"""Few labels: how the linear probe fares when most examples have none."""

import hashlib
from typing import Any

from torch import Tensor

from ssl_runner.data.splits import nested_subsets
from ssl_runner.evaluation.logistic import Grid, fit_linear
from ssl_runner.evaluation.scores import accuracy
from ssl_runner.evaluation.subject import named_layer
from ssl_runner.evaluation.videos import by_video
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Evaluator, Examples, Finding, Subject


class FewLabel(Evaluator):
    """The linear probe on stratified, seeded, nested subsets of "train": 1 % inside 10 % inside 100 %.

    Learning rate and weight decay are chosen on no more labels of "val" than the subset has labels of its own:
    choosing on all of val would use labels that someone with so few does not have. So twice the named number of labels
    is used at most. A fraction has at least one example a class; a number per class that the smallest class of train
    does not have is left out, and the protocol says so. Metrics: accuracy on "test" per subset, in [0, 1]; of clips
    of videos accuracy_video, too (`videos.by_video`).
    """

    def __init__(
        self,
        *,
        layer: str | int,
        fractions: list[float],
        per_class: list[int],
        learning_rates: list[float],
        weight_decays: list[float],
        steps: int,
        batch_size: int,
    ) -> None:
        self.layer = named_layer("evaluation.few_label.layer", layer)
        if not fractions and not per_class:
            raise ValueError(
                "evaluation.few_label.fractions and per_class are both empty; list a number in one of them"
            )
        if any(not 0 < fraction <= 1 for fraction in fractions):
            raise ValueError(f"evaluation.few_label.fractions is {list(fractions)}; each must lie in (0, 1]")
        if any(number < 1 for number in per_class):
            raise ValueError(f"evaluation.few_label.per_class is {list(per_class)}; each must be at least 1")
        self.fractions = list(fractions)
        self.per_class = list(per_class)
        self.grid = Grid(learning_rates=learning_rates, weight_decays=weight_decays, steps=steps, batch_size=batch_size)
        self.grid.check("evaluation.few_label")

    def __call__(self, subject: Subject) -> Finding:
        train, val, test = (subject.features(split, self.layer) for split in ("train", "val", "test"))
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
                f"evaluation.few_label.per_class is {self.per_class}, and the smallest class of train has {smallest} "
                "examples; list smaller numbers, or a fraction"
            )
        metrics: dict[str, float] = {}
        protocols: dict[str, dict[str, Any]] = {}
        for name, subset in subsets.items():
            found, protocols[name] = self._fit(subject, subset, train, val, test)
            metrics |= {f"{metric}@{name}": value for metric, value in found.items()}
        curve = sorted((protocols[name]["labels"], metrics[f"accuracy@{name}"]) for name in subsets)
        return Finding(
            metrics=metrics,
            protocol={
                "evaluator": "linear probe on few labels",
                "layer": self.layer,
                "features": "standardised by the subset",
                "split": "test",
                "chosen on": "val, as many labels as the subset has, at most",
                "settings": len(self.grid.settings),
                "steps": self.grid.steps,
                "seed": subject.seed,
                "subsets": protocols,
                "left out": [f"{number} per class: the smallest class of train has {smallest}" for number in left_out],
            },
            figures={
                "accuracy by labels": Lines(
                    x=[labels for labels, _ in curve],
                    y={"accuracy": [value for _, value in curve]},
                    x_label="labelled examples to train on",
                    y_label="accuracy on test",
                    log_x=True,
                    note="A linear classifier on frozen features, trained on nested subsets of the labels.",
                )
            },
        )

    def _fit(
        self, subject: Subject, subset: Tensor, train: Examples, val: Examples, test: Examples
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics on test, and what belongs to their protocol."""
        share = min(1.0, len(subset) / len(val.label))
        (held,) = nested_subsets(val.label, fractions=[share], per_class=[], seed=subject.seed).values()
        device = subject.device
        fit = fit_linear(
            train.data[subset].to(device),
            train.label[subset].to(device),
            val.data[held].to(device),
            val.label[held].to(device),
            subject.data.spec.classes,
            self.grid,
            seed=subject.seed,
        )
        logits = fit.logits(test.data.to(device)).cpu()
        of_videos = by_video(subject.data, "test", logits.softmax(dim=1))
        return {"accuracy": accuracy(logits.argmax(dim=1), test.label)} | of_videos, {
            "labels": len(subset),
            "val labels": len(held),
            "learning_rate": fit.learning_rate,
            "weight_decay": fit.weight_decay,
            "at the grid's edge": ", ".join(fit.at_edge),
            "indices": hashlib.sha256(subset.numpy().tobytes()).hexdigest()[:16],
        }
