"""Few labels: how many of them pretraining saves when the whole network is trained on those there are."""

import hashlib
from typing import Any

from torch import Tensor

from ssl_runner.data.splits import nested_subsets
from ssl_runner.evaluation.tuning import Recipe, Start, accuracy, augmentation, calibrated, fine_tune
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Evaluator, Examples, Finding, Subject, Views


class FewLabelFineTune(Evaluator):
    """Fine-tune a copy of the encoder on each of the stratified, seeded, nested subsets of "train" that `FewLabel` has.

    The control at the random start is supervised training on the same labels: the gap between the two curves, read
    across, is the number of labels that pretraining saves. How: `tuning.fine_tune`, from `tuning.calibrated`, for
    `epochs` of the subset, and `least_steps` batches where that is less, so that few labels are learned too. `views`
    null: no augmentation. A fraction has at least one example a class. Nothing is chosen: "val" is not used. Metrics:
    accuracy on "test" per subset, in [0, 1]; of clips of videos accuracy_video, too (`videos.by_video`).
    """

    pixels_are_control = False  # they have no weights to train

    def __init__(
        self,
        *,
        fractions: list[float],
        epochs: int,
        least_steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        views: Views | None,
    ) -> None:
        if not fractions or any(not 0 < fraction <= 1 for fraction in fractions):
            raise ValueError(
                f"evaluation.few_label_finetune.fractions is {list(fractions)}; it must list numbers in (0, 1]"
            )
        self.fractions = list(fractions)
        self.recipe = Recipe(
            epochs=epochs,
            least_steps=least_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
        )
        self.recipe.check("evaluation.few_label_finetune")
        self.views = views

    def __call__(self, subject: Subject) -> Finding:
        label = subject.data.examples("train").label
        subsets = nested_subsets(label, fractions=self.fractions, per_class=[], seed=subject.seed)
        start = calibrated(subject, self.recipe)
        metrics: dict[str, float] = {}
        protocols: dict[str, dict[str, Any]] = {}
        for name, subset in subsets.items():
            found, protocols[name] = self._tune(subject, start, subset)
            metrics |= {f"{metric}@{name}": value for metric, value in found.items()}
        curve = sorted((protocols[name]["labels"], metrics[f"accuracy@{name}"]) for name in subsets)
        return Finding(
            metrics=metrics,
            protocol={
                "evaluator": "fine-tuning of all weights on few labels",
                "layer": "pooled",
                "split": "test",
                "epochs": self.recipe.epochs,
                "least steps": self.recipe.least_steps,
                "batch_size": self.recipe.batch_size,
                "learning_rate": self.recipe.learning_rate,
                "weight_decay": self.recipe.weight_decay,
                "augmentation": augmentation(self.views),
                "seed": subject.seed,
                "subsets": protocols,
            },
            figures={
                "accuracy by labels": Lines(
                    x=[labels for labels, _ in curve],
                    y={"accuracy": [value for _, value in curve]},
                    x_label="labelled examples to train on",
                    y_label="accuracy on test",
                    log_x=True,
                    note="The whole network, trained on nested subsets of the labels. From the random start, that is "
                    "supervised training on as many.",
                )
            },
        )

    def _tune(self, subject: Subject, start: Start, subset: Tensor) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics on test, and what belongs to their protocol."""
        train = subject.data.examples("train")
        examples = Examples(train.data[subset], train.label[subset])
        network = fine_tune(subject, start, examples, self.recipe, self.views)
        return accuracy(network, subject, "test", self.recipe.batch_size), {
            "labels": len(subset),
            "steps": self.recipe.steps(len(subset)),
            "indices": hashlib.sha256(subset.numpy().tobytes()).hexdigest()[:16],
        }
